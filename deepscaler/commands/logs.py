"""`deepscaler logs`: what the nodes of a run's SLURM jobs say, each line with its node."""

import argparse
from pathlib import Path

HELP = "Show the logs of a run's SLURM jobs, each line with its node."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder and what to show."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the --output-dir of what was submitted")
    parser.add_argument("--job", metavar="ID", help="a job, or element of an array (default: the newest that began)")
    parser.add_argument("--lines", type=int, default=30, help="last lines of each file (default: %(default)s)")
    parser.add_argument("--follow", action="store_true", help="go on until the job has ended")


def run(arguments: argparse.Namespace) -> int:
    """Print the last lines of every file of a job's newest attempt, and with `--follow` all that is added."""
    from slurm.logs import show_logs  # noqa: PLC0415

    return show_logs(arguments.run_dir.absolute(), arguments.job, arguments.lines, follow=arguments.follow)
