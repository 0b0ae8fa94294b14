"""`deepscaler grade`: the responses in a JSON Lines file against their golds, with the table that `report` prints."""

import argparse
import json
from pathlib import Path

from deepscaler.commands.parser import Parser
from deepscaler.output.terminal import PlainConsole, print_rows
from deepscaler.system.files import write_text

EXAMPLES = (
    "deepscaler grade responses.jsonl --thinking no",
    "deepscaler grade rollouts.jsonl --response output --gold gts --id uid --output graded.jsonl",
)


def configure(parser: Parser) -> None:
    """Adds the file, its columns and the way to grade."""
    parser.add_argument("file", type=Path, metavar="FILE.jsonl", help="file of responses, one JSON object a line")
    parser.add_argument(
        "--response", default="response", metavar="COLUMN", help="column of the response (default: response)"
    )
    parser.add_argument(
        "--gold", default="gold", metavar="COLUMN", help="column of the gold: text, number or list (default: gold)"
    )
    parser.add_argument(
        "--id", default="", metavar="COLUMN", help="column that identifies the problem (default: id, or the gold)"
    )
    parser.add_argument(
        "--thinking",
        choices=("yes", "no"),
        default="yes",
        help="yes if responses end their thinking with </think> (default: %(default)s)",
    )
    parser.add_argument(
        "--grader",
        choices=("kit", "deepscaler"),
        default="kit",
        help="grader: `deepscaler` decides as DeepScaleR's original one did",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write each line's verdict to this file")


def run(arguments: argparse.Namespace) -> int:
    """Grades all lines and prints the table."""
    from evaluation.responses import Columns, file_table, grade_file  # noqa: PLC0415  numpy, which --help does not need

    columns = Columns(response=arguments.response, gold=arguments.gold, id=arguments.id)
    scored = grade_file(arguments.file, columns, thinking=arguments.thinking == "yes", mode=arguments.grader)
    rows = file_table(arguments.file.stem, scored)
    print_rows(PlainConsole(), f"{arguments.file}, grader {arguments.grader}", rows)
    if arguments.output:
        verdicts = [
            {"id": s.sample.problem_id, "correct": s.grade.correct, "reason": s.grade.reason, "answer": s.grade.answer}
            for s in scored
        ]
        write_text(arguments.output, "".join(json.dumps(verdict) + "\n" for verdict in verdicts))
    return 0
