"""`deepscaler reproduce`: the same training again, elsewhere, after all that differs was listed."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from rich.console import Console

from deepscaler.commands.parser import Parser, folder_to_write, module_of, parse
from deepscaler.output.terminal import PlainConsole, add_row, new_table, print_table
from deepscaler.recipes import write
from deepscaler.runs.metrics import read_metrics
from deepscaler.runs.stages import run_folders
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import DONE
from deepscaler.system.files import write_text
from deepscaler.system.paths import data_dir

EXAMPLES = (
    "deepscaler reproduce NAME/deepscaler.json --output-dir outputs/again --dry-run",
    "deepscaler reproduce outputs/8k --output-dir outputs/again --file sums.jsonl=data/sums.jsonl",
)
SHOWN = 5
"""Most differing figures that are printed."""


def configure(parser: Parser) -> None:
    """Adds the record, the new folder, and what the record cannot hold."""
    parser.add_argument(
        "record",
        type=Path,
        metavar="RECORD",
        help="record of a training: deepscaler.json or its folder, a run, a chain, or a run.json",
    )
    parser.add_argument(
        "--output-dir", type=folder_to_write, metavar="DIR", help="folder of the new run (default: outputs/NAME-again)"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), help="kind of machine to train on (default: as recorded)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of prepared data (default: <cache>/data)")
    parser.add_argument("--model", default="", metavar="MODEL", help="folder or hub id of the recorded base model")
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        type=_file,
        metavar="NAME=PATH",
        help="data or reward file of the author, by its recorded name; may be repeated",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the recipe, such as num_nodes=2",
    )
    parser.add_argument("--yes", action="store_true", help="train although something differs")
    parser.add_dry_run("list what differs and the command; fetch, write and run nothing")


def run(arguments: argparse.Namespace) -> int:
    """Lists the differences, and trains."""
    from deepscaler.publish.recorded import read_recorded  # noqa: PLC0415  --help needs none of it
    from deepscaler.publish.repeat import Here, compared_steps, repetition  # noqa: PLC0415

    recorded, console = read_recorded(arguments.record), PlainConsole()
    for name, path in arguments.file:
        if not path.is_file():
            raise UserError(f"--file {name}={path}: there is no such file; give the path of the author's file")
    names = [str(stage["name"]) for stage in recorded.stages]
    # absolute, so that the command printed below works in any folder
    output_dir = (arguments.output_dir or Path("outputs", f"{'-'.join(names)}-again")).absolute()
    here = Here(
        files=dict(arguments.file),
        model=arguments.model,
        data_dir=arguments.data_dir or data_dir(),
        settings=tuple(arguments.set),
        dry_run=arguments.dry_run,
        output_dir=output_dir,
    )
    repetitions = [repetition(recorded, stage, here) for stage in recorded.stages]
    # stages share programs and machine, and each difference is listed once
    differences = list(dict.fromkeys(one for each in repetitions for one in each.differences))
    device = str(arguments.device or recorded.stages[0].get("device", "cuda"))
    _print_differences(differences, arguments.record, console)
    if stopping := [one.what for one in differences if one.stops]:
        raise UserError(f"missing: {', '.join(stopping)}; the table above says what to give")
    files = [str(output_dir / "recipes" / f"{name}.toml") for name in names]
    command = ["train" if len(files) == 1 else "chain", *files, "--output-dir", str(output_dir), "--device", device]
    command += ["--data-dir", str(arguments.data_dir)] if arguments.data_dir else []
    console.print(
        f"{'Would run' if arguments.dry_run else 'Running'}: deepscaler {shlex.join(command)}", soft_wrap=True
    )
    if arguments.dry_run:
        return DONE
    if differences and not arguments.yes:
        raise UserError(f"{len(differences)} differences, listed above: add --yes to train despite them")
    # Only behind every question: a command that was refused has written nothing.
    for file, each in zip(files, repetitions, strict=True):
        assert each.recipe is not None, "nothing is missing"
        write_text(Path(file), write.whole(each.recipe))
        if each.reward:
            write_text(*each.reward)
    # By the command's own parser, so that whoever types the line that was printed gets the same.
    code = module_of(command[0]).run(parse(command))
    if code == DONE:
        for stage, (_, folder) in zip(recorded.stages, run_folders(output_dir), strict=True):
            if stage.get("first_steps"):
                _print_steps(stage, *compared_steps(stage, read_metrics(folder)), console)
    return code


def _print_differences(differences: list[Any], record: Path, console: Console) -> None:
    if not differences:
        console.print("Nothing differs from the record.")
        return
    table = new_table(["what", "recorded", "here"], text_columns=(0, 1, 2))
    for one in differences:
        add_row(table, [one.what, one.recorded, one.here], style="bold" if one.stops else "")
    print_table(console, f"What differs from {record}", table)


def _print_steps(stage: dict[str, Any], same: int, different: list[str], console: Console) -> None:
    """Says whether the first steps equal those of the record."""
    last = max(map(int, stage["first_steps"]))
    if not different:
        console.print(f"{stage['name']}: all {same} figures up to step {last} are the same to the last digit.")
        return
    console.print(f"{stage['name']}: {len(different)} of {same + len(different)} figures up to step {last} differ:")
    for one in different[:SHOWN]:
        console.print(f"  {one}", soft_wrap=True)


def _file(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not (separator and name and path):
        raise argparse.ArgumentTypeError(f"invalid value {text!r}: expected NAME=PATH")
    return name, Path(path).absolute()
