"""`deepscaler reshard`: a run's newest checkpoint for another number of ranks, optimizer included."""

import argparse
from functools import partial

from deepscaler.commands.mirrored import RUN_HELP, folder_to_read
from deepscaler.commands.parser import Parser
from deepscaler.output.terminal import PlainConsole
from deepscaler.runs.folder import RunFolder
from deepscaler.system.flags import whole
from deepscaler.training.resharding.reshard import describe_reshard, reshard

EXAMPLES = (
    "deepscaler reshard outputs/8k --ranks 32 --dry-run",
    "deepscaler reshard outputs/8k --ranks 32",
)


def configure(parser: Parser) -> None:
    """Adds the run's folder and the number of ranks."""
    parser.add_argument("run_dir", metavar="RUN_DIR", help=RUN_HELP)
    parser.add_argument(
        "--ranks",
        type=whole(1),
        required=True,
        metavar="N",
        help="number of ranks (GPUs of all nodes) that will resume; `train` does the same by itself when it resumes"
        " with another number of them",
    )
    parser.add_dry_run("say what would be written, write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Writes RUN_DIR/resharded/global_step_STEP-of-N."""
    say = partial(PlainConsole().print, soft_wrap=True)
    folder = folder_to_read(arguments.run_dir, "metrics" if arguments.dry_run else "newest", say)
    directory = RunFolder(folder.resolve())
    if arguments.dry_run:
        describe_reshard(directory, arguments.ranks, say)
    else:
        reshard(directory, arguments.ranks, say)
    return 0
