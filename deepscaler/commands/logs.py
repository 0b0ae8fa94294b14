"""`deepscaler logs`: what the machines of a run say, each line with its machine."""

import argparse
from pathlib import Path

from deepscaler.commands.parser import Parser
from deepscaler.launch.launcher import launcher_of
from deepscaler.system.flags import whole
from deepscaler.system.paths import existing_folder

EXAMPLES = ("deepscaler logs outputs/8k --follow", "deepscaler logs outputs/8k --job 4711 --lines 200")


def configure(parser: Parser) -> None:
    """Adds the folder and what to show."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the --output-dir of what was submitted")
    parser.add_argument(
        "--job",
        metavar="ID",
        help="id of a job or of an element of an array (default: the newest that began; with --follow, of those that"
        " have not ended)",
    )
    parser.add_argument(
        "--lines",
        type=whole(1),
        metavar="N",
        default=30,
        help="number of last lines to show of each file (default: %(default)s)",
    )
    parser.add_argument("--follow", action="store_true", help="keep printing until the job has ended")


def run(arguments: argparse.Namespace) -> int:
    """Prints the last lines of every log of a job's newest attempt, and with `--follow` all that is added."""
    folder = existing_folder(arguments.run_dir)
    return launcher_of(folder).show_logs(folder, arguments.job, arguments.lines, follow=arguments.follow)
