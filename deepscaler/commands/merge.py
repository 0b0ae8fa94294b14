"""`deepscaler merge`: a run's newest or best checkpoint as a Hugging Face model."""

import argparse
from functools import partial

from deepscaler.commands.mirrored import RUN_HELP, folder_to_read
from deepscaler.commands.parser import Parser
from deepscaler.mirror.fetch import Need
from deepscaler.output.terminal import PlainConsole
from deepscaler.runs.folder import RunFolder
from deepscaler.training.merge import describe_merge, merge

EXAMPLES = (
    "deepscaler merge outputs/8k --dry-run",
    "deepscaler merge outputs/8k --best",
)


def configure(parser: Parser) -> None:
    """Adds the run's folder."""
    parser.add_argument("run_dir", metavar="RUN_DIR", help=RUN_HELP)
    parser.add_argument(
        "--best", action="store_true", help="merge the checkpoint with the best validation, not the newest"
    )
    parser.add_dry_run("say what would be merged, write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Merges into RUN_DIR/model."""
    console = PlainConsole()
    # a mirror's checkpoint takes gigabytes, and a dry run only names it
    need: Need = "metrics" if arguments.dry_run else "best" if arguments.best else "newest"
    folder = folder_to_read(arguments.run_dir, need, partial(console.print, soft_wrap=True))
    directory = RunFolder(folder.resolve())
    if arguments.dry_run:
        describe_merge(directory, console, of_best=arguments.best)
    else:
        merge(directory, console, of_best=arguments.best)
    return 0
