"""`deepscaler merge`: a run's newest checkpoint as a Hugging Face model."""

import argparse
from pathlib import Path

HELP = "Make a Hugging Face model of a run's newest checkpoint."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the run's folder."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the --output-dir of `deepscaler train`")
    parser.add_argument("--dry-run", action="store_true", help="say what would be merged, write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Merge into RUN_DIR/model."""
    from deepscaler.output.terminal import PlainConsole  # noqa: PLC0415
    from deepscaler.runs.folder import RunFolder  # noqa: PLC0415
    from deepscaler.training.merge import describe_merge, merge  # noqa: PLC0415

    directory, console = RunFolder(arguments.run_dir.resolve()), PlainConsole()
    if arguments.dry_run:
        describe_merge(directory, console)
    else:
        merge(directory, console)
    return 0
