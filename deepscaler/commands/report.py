"""`deepscaler report`: score an evaluation's samples again and write its reports."""

import argparse
from pathlib import Path

HELP = "Recompute scores and reports from an evaluation's samples."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder and the choice of grader."""
    parser.add_argument("output_dir", type=Path, metavar="DIR", help="the --output-dir of `deepscaler evaluate`")
    parser.add_argument(
        "--grader",
        choices=("kit", "deepscaler"),
        default="kit",
        help="`deepscaler` decides as DeepScaleR's original grader did, to compare with published numbers",
    )


def run(arguments: argparse.Namespace) -> int:
    """Report."""
    from deepscaler.terminal import PlainConsole  # noqa: PLC0415
    from evaluation.report import write_report  # noqa: PLC0415

    write_report(arguments.output_dir, PlainConsole(), arguments.grader)
    return 0
