"""`deepscaler report`: an evaluation's samples scored again, or a training's curves drawn, with all their files."""

import argparse
from pathlib import Path

from deepscaler.system.errors import UserError

HELP = "Write the report of an evaluation, a training run or a chain."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder and the choice of grader."""
    parser.add_argument(
        "output_dir", type=Path, metavar="DIR", help="the --output-dir of `deepscaler evaluate`, `train` or `run`"
    )
    parser.add_argument(
        "--grader",
        choices=("kit", "deepscaler"),
        default="kit",
        help="of an evaluation: `deepscaler` decides as DeepScaleR's original grader did, to compare with published"
        " numbers",
    )


def run(arguments: argparse.Namespace) -> int:
    """Report on what the folder is."""
    from deepscaler.output.terminal import PlainConsole  # noqa: PLC0415
    from deepscaler.runs.outputs import kind_of  # noqa: PLC0415

    folder = arguments.output_dir
    if kind_of(folder) != "evaluation":
        from deepscaler.training.report.write import write_training_report  # noqa: PLC0415

        if arguments.grader != "kit":
            raise UserError(f"--grader {arguments.grader} is for evaluations; {folder} is a training")
        write_training_report(folder, PlainConsole())
    else:
        from evaluation.report.write import write_report  # noqa: PLC0415

        write_report(folder, PlainConsole(), arguments.grader)
    return 0
