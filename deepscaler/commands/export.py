"""`deepscaler export`: an evaluation's samples and verdicts in the files of other programs."""

import argparse
from pathlib import Path

from deepscaler.commands.parser import Parser, folder_to_write
from deepscaler.output.terminal import PlainConsole

FORMATS = ("inspect", "lm-eval", "model-index")
EXAMPLES = (
    "deepscaler export outputs/aime --to inspect",
    "deepscaler export outputs/aime --to model-index --output card",
)


def configure(parser: Parser) -> None:
    """Adds the folder and the form."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of an evaluation that has a report")
    parser.add_argument(
        "--to", dest="form", choices=FORMATS, required=True, help="program or card that the files are for"
    )
    parser.add_argument(
        "--output", type=folder_to_write, metavar="FOLDER", help="folder to write to (default: DIR/exports)"
    )
    parser.add_dry_run("print which files would be written, write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Writes the files, one for each data set, or one for all in a model card's metadata."""
    from evaluation.exchange.exports import export, write_export  # noqa: PLC0415  numpy, which --help does not need
    from evaluation.folder import EvaluationFolder  # noqa: PLC0415

    output = arguments.output or arguments.folder / "exports"
    texts = export(EvaluationFolder(arguments.folder), arguments.form)
    for name, text in texts.items():
        PlainConsole().print(f"{output / name} ({len(text.encode()):,} bytes)", soft_wrap=True)
    if not arguments.dry_run:
        write_export(texts, output)
    return 0
