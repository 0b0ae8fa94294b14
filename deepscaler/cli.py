"""The one command. Each subcommand is a module of `deepscaler.commands` with `configure` and `run`.

Heavy imports happen inside `run`, never at the top of a command module, so that `--help` answers at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from deepscaler import __version__
from deepscaler.commands import COMMANDS
from deepscaler.system.errors import UserError

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """Errors are one line, as all others are, and a flag is what it is called in full."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        """Print it and exit with 2."""
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT)


def build_parser() -> argparse.ArgumentParser:
    """The parser of every subcommand."""
    parser = _Parser(prog="deepscaler", description="DeepScaleR's data, recipes, grader and evaluation.")
    parser.add_argument("--version", action="version", version=f"deepscaler {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.HELP, description=command.HELP)
        command.configure(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code: 0 done, 2 bad input with one line that says what to do."""
    parsed = build_parser().parse_args(arguments)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch reads it when it is imported, which is later
    try:
        code: int = parsed.run(parsed)
    except UserError as error:
        print(f"deepscaler: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("deepscaler: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # `deepscaler ... | head`: the reader left; keep the interpreter from failing again on flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        where = f"{error.filename}: " if error.filename else ""
        print(f"deepscaler: {where}{error.strerror or error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return code
