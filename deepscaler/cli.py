"""Runs the command `deepscaler`: lists all commands, or imports and runs the one that was typed."""

import argparse
import errno
import os
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from deepscaler import __version__
from deepscaler.commands.parser import Parser, module_of, nearest, parse
from deepscaler.commands.table import COMMANDS, NAMES
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import BAD_INPUT, DONE, FAILED, INTERRUPTED
from deepscaler.system.files import FULL, FullDiskError, free, full_disk
from deepscaler.system.paths import cache_dir

ABOUT = "Train, evaluate and compare DeepScaleR-like models, on this machine or a cluster."
MORE = "`deepscaler COMMAND --help` shows a command's options and two examples."
HELP = ("-h", "--help")
FAILING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ESHUTDOWN)
"""Errors of a disk or file server that fails, perhaps on this machine only: no bad input, so launchers try again."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns its exit code: 0 done, 2 bad input with one line that says what to do, 1 a failure."""
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for completions
        from deepscaler.commands.completion import complete  # noqa: PLC0415  no other start needs argcomplete

        complete()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in HELP:
        print(overview(), end="")
        return DONE
    if words[0] == "--version":
        print(f"deepscaler {__version__}")
        return DONE
    if words[0] not in NAMES:
        _refuse(words[0])
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch reads it when it is imported, which is later
    try:
        return module_of(words[0]).run(parse(words))
    except UserError as error:
        print(f"deepscaler: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("deepscaler: interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:  # a full disk, a folder that may not be written
        # To Python a file server that shut down is a broken pipe, too.
        if isinstance(error, BrokenPipeError) and error.errno not in FAILING:
            # `deepscaler ... | head`: the reader left; keep the interpreter from failing again on flush.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        where = f"{error.filename}: " if error.filename else ""
        is_full = error.errno in FULL and error.filename and not isinstance(error, FullDiskError)
        why = (
            full_disk(Path(str(error.filename)))
            if is_full
            else f"{error.strerror or error}{_full_places(error, words)}"
        )
        told = f"{where}{why}; {_advice(error)}"
        print(f"deepscaler: {' '.join(told.split())}", file=sys.stderr)
        return FAILED if error.errno in FAILING else BAD_INPUT


def overview() -> str:
    """Returns the help of `deepscaler` itself: every command in its group."""
    parser = Parser(prog="deepscaler", add_help=False)
    formatter = parser._get_formatter()
    formatter.add_usage("deepscaler COMMAND [options]", [], [])
    formatter.add_text(textwrap.fill(ABOUT, formatter._width))
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        formatter.start_section(group)
        for name, command in COMMANDS.items():
            if command.group == group:
                about = f"{command.help} Also: {command.also}." if command.also else command.help
                formatter.add_argument(argparse.Action([], name, metavar=name, nargs=None, help=about))
        formatter.end_section()
    formatter.add_text(textwrap.fill(MORE, formatter._width))
    return formatter.format_help()


def _advice(error: OSError) -> str:
    """Returns what to do about a failure of the system."""
    if error.errno in FULL:
        return "free some space, or choose another folder"
    if error.errno in FAILING:
        return "check the disk, file server or network, then rerun the same command"
    if isinstance(error, FileNotFoundError):
        return "check the path"
    return "check who owns it, or choose another folder"


def _full_places(error: OSError, words: Sequence[str]) -> str:
    """Returns how much room is left wherever the command may write, if an error on a full disk names no path."""
    if error.errno not in FULL or error.filename:
        return ""
    named = [Path(word.rpartition("=")[2]) for word in words[1:] if "/" in word]
    places = dict.fromkeys([*named, Path.cwd(), cache_dir(), Path(tempfile.gettempdir())])
    return "".join(f"; {place}: {free(place)}" for place in places)


def _refuse(word: str) -> NoReturn:
    kind, valid = ("option", (*HELP, "--version")) if word.startswith("-") else ("command", tuple(NAMES))
    Parser(prog="deepscaler").error(f"unrecognized {kind} {word!r}{nearest(word, valid)}")
