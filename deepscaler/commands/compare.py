"""`deepscaler compare`: whether models differ, paired over the problems that their evaluations have in common."""

import argparse
from pathlib import Path

from deepscaler.commands.parser import Parser, folder_to_write
from deepscaler.output.terminal import PlainConsole
from deepscaler.runs.outputs import is_training
from deepscaler.system.errors import UserError

EXAMPLES = (
    "deepscaler compare outputs/base outputs/deepscaler-1.5b --output-dir outputs/compared",
    "deepscaler compare outputs/8k-16k/0-base/evaluation outputs/8k-16k/2-16k/evaluation --margin 1",
)

MOST = 26
"""Evaluations that have a letter each."""


def configure(parser: Parser) -> None:
    """Adds the evaluations, and how to compare them."""
    parser.add_argument("baseline", type=Path, metavar="A", help="evaluation that the others are compared with")
    parser.add_argument(
        "others", type=Path, nargs="+", metavar="B", help="evaluations: each a folder of `evaluate`, or a report.json"
    )
    parser.add_argument(
        "--output-dir",
        type=folder_to_write,
        metavar="DIR",
        help="also write compare.json, compare.md and compare.html to this folder",
    )
    parser.add_argument(
        "--margin",
        type=_margin,
        default=2.0,
        metavar="POINTS",
        help="report no difference if its whole interval is within this many points of 0 (default: 2)",
    )
    parser.add_argument(
        "--grader",
        choices=("kit", "deepscaler"),
        default="kit",
        help="grader whose grades are compared; `deepscaler` needs `deepscaler report DIR --grader deepscaler` first",
    )
    parser.add_argument(
        "--anyway", action="store_true", help="compare evaluations of different protocols, and say so in the result"
    )
    parser.add_dry_run("say what would be compared and written, write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Compares, prints and writes."""
    from evaluation.compare.compare import check, compare  # noqa: PLC0415  numpy and scipy, which --help does not need
    from evaluation.compare.sides import open_side  # noqa: PLC0415
    from evaluation.compare.write import FILES, print_comparison, write_comparison  # noqa: PLC0415

    paths = [arguments.baseline, *arguments.others]
    if len(paths) > MOST:
        raise UserError(f"{len(paths)} evaluations are too many to compare at once: give at most {MOST}")
    sides = [open_side(chr(ord("A") + place), _evaluation(path), arguments.grader) for place, path in enumerate(paths)]
    margin, folder = arguments.margin / 100, arguments.output_dir
    if arguments.dry_run:
        check(sides, anyway=arguments.anyway)
        for side in sides[1:]:
            names = [name for name in sides[0].datasets if name in side.datasets]
            print(f"would compare {side.path} with {sides[0].path} on {', '.join(names)}")
        print("\n".join(f"would write {folder / name}" for name in FILES) if folder else "would write nothing")
        return 0
    compared = compare(sides, margin=margin, anyway=arguments.anyway)
    console = PlainConsole()
    print_comparison(compared, margin, console)
    if folder:
        write_comparison(compared, margin, folder)
        console.print(f"Report: {folder / FILES[-1]}", soft_wrap=True)
    return 0


def _evaluation(path: Path) -> Path:
    """Returns the path of an evaluation. Raises UserError for what is not there, and for a training."""
    if not path.exists():
        raise UserError(f"{path} does not exist: give the --output-dir of `deepscaler evaluate`, or a report.json")
    if is_training(path):
        found = sorted(path.glob("**/evaluation"))
        advice = f"such as {found[-1]}" if found else "which `deepscaler chain --eval` makes below it"
        raise UserError(f"{path} is a training: give the evaluations of its models, {advice}")
    return path


def _margin(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        # Outside of the range, so that one message serves for both; NaN is, too, since it compares with
        # nothing.
        value = -1.0
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"invalid value {text!r}: expected points above 0 and below 100")
    return value
