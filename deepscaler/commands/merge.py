"""`deepscaler merge`: a run's newest or best checkpoint as a Hugging Face model."""

import argparse
from pathlib import Path

from deepscaler.commands.parser import Parser
from deepscaler.output.terminal import PlainConsole
from deepscaler.runs.folder import RunFolder
from deepscaler.system.paths import existing_folder
from deepscaler.training.merge import describe_merge, merge

EXAMPLES = (
    "deepscaler merge outputs/8k --dry-run",
    "deepscaler merge outputs/8k --best",
)


def configure(parser: Parser) -> None:
    """Adds the run's folder."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the --output-dir of `deepscaler train`")
    parser.add_argument(
        "--best", action="store_true", help="merge the checkpoint with the best validation, not the newest"
    )
    parser.add_dry_run("say what would be merged, write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Merges into RUN_DIR/model."""
    directory, console = RunFolder(existing_folder(arguments.run_dir).resolve()), PlainConsole()
    if arguments.dry_run:
        describe_merge(directory, console, of_best=arguments.best)
    else:
        merge(directory, console, of_best=arguments.best)
    return 0
