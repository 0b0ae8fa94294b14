"""`deepscaler cancel`: end the jobs of a run, wherever they are."""

import argparse
from pathlib import Path

from deepscaler.commands.parser import Parser
from deepscaler.launch.launcher import launcher_of
from deepscaler.output.terminal import PlainConsole

EXAMPLES = ("deepscaler cancel outputs/8k-16k-24k --dry-run", "deepscaler cancel outputs/8k-16k-24k")


def configure(parser: Parser) -> None:
    """Adds the folder."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the --output-dir of what was submitted")
    parser.add_dry_run("print the jobs, cancel nothing")


def run(arguments: argparse.Namespace) -> int:
    """Cancels what is queued or running."""
    launcher = launcher_of(arguments.run_dir)
    return launcher.cancel(arguments.run_dir, PlainConsole(), dry_run=arguments.dry_run)
