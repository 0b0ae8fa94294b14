"""`deepscaler report`: an evaluation's samples scored again, or a training's curves drawn, with all their files."""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from deepscaler.commands.counting import counts_if
from deepscaler.commands.mirrored import folder_to_read
from deepscaler.commands.parser import Parser
from deepscaler.mirror.url import is_url
from deepscaler.output.terminal import PlainConsole
from deepscaler.runs.outputs import is_training, kind_of
from evaluation.folder import EvaluationFolder
from evaluation.protocols import PROTOCOLS

EXAMPLES = ("deepscaler report outputs/8k", "deepscaler report outputs/deepscaler-1.5b --grader deepscaler")


def configure(parser: Parser) -> None:
    """Adds the folder and the choice of grader."""
    parser.add_argument(
        "output_dir",
        metavar="DIR",
        help="the --output-dir of `deepscaler evaluate`, `train` or `chain`, or the URL of a training's --mirror",
    )
    grader = parser.add_argument(
        "--grader",
        choices=("kit", "deepscaler"),
        default="kit",
        help="grader: `deepscaler` decides as DeepScaleR's original one did, to compare with published numbers",
    )
    published = parser.add_argument(
        "--published",
        choices=(*PROTOCOLS, "all"),
        default="",
        help="protocol whose published results are shown (default: the evaluation's)",
    )
    for action in (grader, published):
        counts_if(action, "for an evaluation", "give its folder", _is_no_training)
    parser.add_dry_run("say which files would be written, write none")


def run(arguments: argparse.Namespace) -> int:
    """Reports on what the folder is."""
    say = partial(PlainConsole().print, soft_wrap=True)
    folder = folder_to_read(arguments.output_dir, "metrics", say, chains=True)
    evaluation, is_run = EvaluationFolder(folder), kind_of(folder) != "evaluation"
    if arguments.dry_run:
        names = ("json", "html", "png") if is_run else ("json", "md", "html")
        paths = [
            folder / f"report.{name}" if is_run else evaluation.report_path(name, arguments.grader) for name in names
        ]
        print("\n".join(f"would write {path}" for path in paths))
        return 0
    # both writers draw with matplotlib, which takes 1.5 s to import
    if is_run:
        from deepscaler.training.report.write import write_training_report  # noqa: PLC0415

        write_training_report(folder, PlainConsole())
    else:
        from evaluation.report.write import write_report  # noqa: PLC0415

        write_report(folder, PlainConsole(), arguments.grader, arguments.published)
    return 0


def _is_no_training(values: Mapping[str, Any]) -> bool:
    given = values["output_dir"]
    return not is_url(given) and not is_training(Path(given))
