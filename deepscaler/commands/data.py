"""`deepscaler data`: list, prepare and check the data sets."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepscaler.commands.counting import counts_if
from deepscaler.commands.parser import Parser, add_action, offer
from deepscaler.data.check import contamination, contradictions
from deepscaler.data.prepare import is_current, parquet_path, prepare, read_problems, source_named
from deepscaler.data.sources import SOURCES
from deepscaler.models.model import fetch_model
from deepscaler.output.terminal import PlainConsole, add_row, new_table, print_table
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_json
from deepscaler.system.paths import data_dir, existing_folder

EXAMPLES = ("deepscaler data prepare aime amc", "deepscaler data check --source ../shared/data")


def configure(parser: Parser) -> None:
    """Adds `list`, `prepare` and `check`."""
    actions = parser.add_actions()
    add_action(actions, "list", "list the data sets and where they come from").set_defaults(act=_list)
    prepare_parser = add_action(actions, "prepare", "write parquet files in verl's schema")
    offer(
        prepare_parser.add_argument(
            "names", nargs="*", metavar="NAME", help="data sets to prepare (default: all but the generated ones)"
        ),
        SOURCES,
    )
    prepare_parser.add_argument(
        "--output-dir", type=Path, metavar="DIR", help="folder to write to (default: <cache>/data)"
    )
    prepare_parser.add_argument("--missing", action="store_true", help="leave out what is prepared and up to date")
    prepare_parser.add_argument(
        "--model", metavar="HUB_ID", help="also fetch a model into the cache, so that training and evaluation find it"
    )
    prepare_parser.add_dry_run("say what would be written, write nothing")
    prepare_parser.set_defaults(act=_prepare)
    check_parser = add_action(actions, "check", "find contamination and golds that contradict their solutions")
    check_parser.add_argument("--output", type=Path, help="also write the findings to this JSON file")
    check_parser.set_defaults(act=_check)
    for subparser in (prepare_parser, check_parser):
        source = subparser.add_argument("--source", type=Path, metavar="DIR", help="folder with the JSON files")
        counts_if(source, "for published sets", "name one", _is_any_published)


def run(arguments: argparse.Namespace) -> int:
    """Does the chosen action."""
    code: int = arguments.act(arguments)
    return code


def _list(_: argparse.Namespace) -> int:
    table = new_table(["name", "split", "rows", "revision", "about"], text_columns=(0, 1, 3, 4))
    for source in SOURCES.values():
        revision = source.revision[:7] or "generated"
        add_row(table, [source.name, source.split, f"{source.num_rows:,}", revision, source.about])
    PlainConsole().print(table)
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    folder = arguments.output_dir or data_dir()
    sources = [source_named(name) for name in arguments.names or _available(arguments.source)]
    for source in sources:
        path = parquet_path(source.name, folder)
        if arguments.dry_run:
            place = source.url.format(hub="hub:") or "generated"
            if arguments.source and source.file:
                place = str(arguments.source / source.file)
            print(f"{source.name}: {place} -> {path}")
            continue
        if arguments.missing and is_current(source, folder):
            print(f"{source.name}: prepared before: {path}")
            continue
        entry = prepare(source.name, folder, arguments.source)
        dropped = "".join(f", {count} dropped ({reason})" for reason, count in entry["dropped"].items())
        print(f"{source.name}: {entry['rows']} rows{dropped} -> {path}")
        if source.sha256 and not entry["revision"]:
            print(f"{source.name}: note: {entry['source']} is not the published file", file=sys.stderr)
    if arguments.model:
        print(f"{arguments.model}: {'hub' if arguments.dry_run else fetch_model(arguments.model)}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    if arguments.output and not arguments.output.resolve().parent.is_dir():
        raise UserError(f"--output {arguments.output}: there is no folder {arguments.output.resolve().parent}")
    checked = [SOURCES[name] for name in _available(arguments.source) if SOURCES[name].is_checked]
    train_sets = [source.name for source in checked if source.split == "train"]
    test_sets = [source.name for source in checked if source.split == "test"]
    console = PlainConsole()
    train = [problem for name in train_sets for problem in read_problems(SOURCES[name], arguments.source)[0]]
    test = [problem for name in test_sets for problem in read_problems(SOURCES[name], arguments.source)[0]]
    overlaps = contamination(train, test)
    table = new_table(["test problem", "training problem", "match", "similarity"], (0, 1, 2))
    for overlap in overlaps:
        add_row(table, [overlap.test_id, overlap.train_id, overlap.kind, f"{overlap.similarity:.2f}"])
    print_table(console, "Test problems in the training sets", table)
    console.print(
        f"{len(overlaps)} of {len(test)} test problems ({', '.join(test_sets)})"
        f" against {len(train)} training problems ({', '.join(train_sets)})"
    )
    with_solutions = [source.name for source in checked if source.has_solutions]
    contradicted = [found for name in with_solutions for found in contradictions(name, arguments.source)]
    table = new_table(["problem", "published gold", "its solution ends in"], (0, 1, 2))
    for contradiction in contradicted:
        add_row(table, [contradiction.test_id, " | ".join(contradiction.golds), contradiction.solution_says])
    print_table(console, "Golds that contradict their solution", table)
    console.print("`minerva_fixed` has these corrected, save a few where the published gold is right.")
    if arguments.output:
        write_json(
            arguments.output,
            {"overlaps": [asdict(o) for o in overlaps], "contradictions": [asdict(c) for c in contradicted]},
        )
    return 0


def _available(folder: Path | None) -> list[str]:
    """Returns all published sets, or those whose file a --source folder holds."""
    if folder is not None:
        existing_folder(folder, "give the --source that holds aime.json, amc.json, ...")
    found = [s.name for s in SOURCES.values() if s.file and (folder is None or (folder / s.file).is_file())]
    if not found:
        raise UserError(f"--source {folder} holds no data set; give the folder with aime.json, train/aime.json, ...")
    return found


def _is_any_published(values: Mapping[str, Any]) -> bool:
    """Whether one of the chosen sets is not generated; a name that is unknown is refused elsewhere."""
    names = values.get("names", [])
    return not names or any(name not in SOURCES or SOURCES[name].file for name in names)
