"""`deepscaler import`: what another program drew becomes a folder that `report` and `compare` read."""

import argparse
from pathlib import Path

from deepscaler.commands.counting import counts_if
from deepscaler.commands.parser import Parser, folder_to_write
from deepscaler.output.terminal import PlainConsole

FORMATS = ("lm-eval", "lighteval", "inspect", "verl", "jsonl")
EXAMPLES = (
    "deepscaler import samples_aime24_2026-11-27.jsonl --from lm-eval --output-dir outputs/theirs",
    "deepscaler import answers.jsonl --from jsonl --response output --gold gts --output-dir outputs/answers",
)


def configure(parser: Parser) -> None:
    """Adds the file, its format and its columns."""
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="file that the program wrote: samples of lm-eval, details of lighteval, a log, ...",
    )
    parser.add_argument("--from", dest="form", choices=FORMATS, required=True, help="program that wrote the file")
    parser.add_argument(
        "--output-dir", type=folder_to_write, required=True, metavar="DIR", help="new folder for samples and reports"
    )
    parser.add_argument(
        "--model", default="", metavar="MODEL", help="name of the model in reports (default: as the file says)"
    )
    parser.add_argument(
        "--thinking",
        choices=("auto", "yes", "no"),
        default="auto",
        help="yes if responses end their thinking with </think> (default: yes if one does)",
    )
    parser.add_argument(
        "--source",
        type=Path,
        metavar="DIR",
        help="folder with JSON files of the benchmarks whose problems are looked for",
    )
    columns = {
        "response": "holds a response",
        "gold": "holds the gold: text, number or list",
        "id": "identifies a problem",
    }
    for name, about in (columns | {"problem": "holds the question"}).items():
        # an id and a question may be missing; a response and a gold may not
        default = name if name in ("response", "gold") else ""
        action = parser.add_argument(f"--{name}", default=default, metavar="COLUMN", help=f"column that {about}")
        counts_if(action, "with --from jsonl", "add it", lambda values: values["form"] == "jsonl")
    parser.add_dry_run("print what would be written, write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Reads the file, writes the folder, and reports."""
    from evaluation.exchange import imports  # noqa: PLC0415  numpy, which --help does not need
    from evaluation.report.write import write_report  # noqa: PLC0415

    console, root = PlainConsole(), arguments.output_dir
    # before the file is read, which may be large
    imports.check_new(root)
    columns = {name: getattr(arguments, name) for name in ("response", "gold", "id", "problem")}
    imported = imports.read_import(arguments.file, arguments.form, columns, arguments.source)
    for line in imports.plan_lines(imported, root):
        console.print(line, soft_wrap=True)
    if not arguments.dry_run:
        imports.write_import(imported, root, arguments.file, arguments.form, arguments.model, arguments.thinking)
        write_report(root, console)
    return 0
