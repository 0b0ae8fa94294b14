"""`deepscaler data`: list, prepare, check, score and filter the data sets."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deepscaler.commands.counting import counts_if
from deepscaler.commands.data_scores import add_filter, add_score
from deepscaler.commands.parser import Parser, add_action, folder_to_write, named, offer
from deepscaler.data.check import contamination, contradictions
from deepscaler.data.columns import Columns
from deepscaler.data.names import KNOWN, absolute, check_name, check_new_name, is_own, label, look_in, registered
from deepscaler.data.own import (
    Entry,
    OwnOptions,
    benchmark_overlaps,
    digest_of,
    inspect_own,
    prepare_own,
    told,
    told_overlaps,
)
from deepscaler.data.prepare import (
    is_current,
    load_problems,
    parquet_path,
    prepare,
    prepared_path,
    read_manifest,
    read_problems,
)
from deepscaler.data.problem import SUFFIX, Problem
from deepscaler.data.sources import SOURCES
from deepscaler.data.table import problems_of
from deepscaler.models.model import fetch_model
from deepscaler.output.terminal import PlainConsole, add_row, new_table, print_table
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_json
from deepscaler.system.paths import data_dir, existing_folder

EXAMPLES = (
    "deepscaler data prepare sums.jsonl --name mine --answer final",
    "deepscaler data check --source ../shared/data",
)


def configure(parser: Parser) -> None:
    """Adds the actions."""
    actions = parser.add_actions()
    list_parser = add_action(actions, "list", "list the data sets and where they come from")
    list_parser.add_argument("--data-dir", type=Path, metavar="DIR", help="prepared data (default: <cache>/data)")
    list_parser.set_defaults(act=_list)
    _add_prepare(add_action(actions, "prepare", "write parquet files in verl's schema, and register files of your own"))
    check_parser = add_action(actions, "check", "find contamination, duplicates and golds that cannot be right")
    offer(
        check_parser.add_argument("names", nargs="*", metavar="NAME", help="sets to check (default: all published)"),
        KNOWN,
        files="jsonl",
    )
    check_parser.add_argument("--data-dir", type=Path, metavar="DIR", help="prepared data (default: <cache>/data)")
    check_parser.add_argument("--output", type=Path, help="also write the findings to this JSON file")
    check_parser.set_defaults(act=_check)
    _add_source(check_parser)
    add_score(add_action(actions, "score", "draw responses to a set's problems: each gets a pass rate"))
    add_filter(add_action(actions, "filter", "register the problems of a set whose pass rates lie in a band"))


def _add_prepare(parser: Parser) -> None:
    names = parser.add_argument(
        "names", nargs="*", metavar="NAME", help="sets, files or hub:ORG/NAME (default: all published)"
    )
    offer(names, KNOWN, files="jsonl")
    parser.add_argument(
        "--output-dir",
        "--data-dir",
        type=folder_to_write,
        metavar="DIR",
        help="folder to write to, which others read by --data-dir (default: <cache>/data)",
    )
    parser.add_argument("--missing", action="store_true", help="leave out what is prepared and up to date")
    parser.add_argument(
        "--model", metavar="HUB_ID", help="also fetch a model into the cache, so that training and evaluation find it"
    )
    parser.add_dry_run("say what would be written, write nothing")
    _add_source(parser)
    own = parser.add_argument_group("a set of your own")
    for action in (
        own.add_argument("--name", type=named, help="name to register it under (default: its file's name)"),
        own.add_argument("--problem", metavar="COLUMN", default="", help="column of the problem (default: found)"),
        own.add_argument("--answer", metavar="COLUMN", default="", help="column of the answer (default: found)"),
        own.add_argument("--id", metavar="COLUMN", default="", help="column of the id (default: found, else a hash)"),
        own.add_argument(
            "--prompt-suffix", default=SUFFIX, help="text that follows each problem (default: %(default)r)"
        ),
        own.add_argument(
            "--drop-duplicates", action="store_true", help="leave out all but the first of similar problems"
        ),
        own.add_argument(
            "--no-answers", action="store_true", help="rows need no answer: for rewards without the part grader"
        ),
    ):
        counts_if(action, "for a file or a set of the hub", "name one", _is_any_own)
    parser.set_defaults(act=_prepare)


def _add_source(parser: Parser) -> None:
    source = parser.add_argument("--source", type=Path, metavar="DIR", help="folder with the JSON files")
    counts_if(source, "for published sets", "name one", _is_any_published)


def run(arguments: argparse.Namespace) -> int:
    """Does the chosen action."""
    look_in(getattr(arguments, "data_dir", None), getattr(arguments, "output_dir", None))
    code: int = arguments.act(arguments)
    return code


def _list(arguments: argparse.Namespace) -> int:
    table = new_table(["name", "split", "rows", "revision", "about"], text_columns=(0, 1, 3, 4))
    for source in SOURCES.values():
        revision = source.revision[:7] or "generated"
        add_row(table, [source.name, source.split, f"{source.num_rows:,}", revision, source.about])
    folders = [arguments.data_dir] if arguments.data_dir else []
    for name, folder in sorted(registered(*folders).items()):
        entry = read_manifest(folder)[name]
        about = f"yours: {entry.get('about') or entry['given']}"
        add_row(table, [name, "own", f"{entry['rows']:,}", entry.get("revision", "")[:7], about])
    PlainConsole().print(table)
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    folder = arguments.output_dir or data_dir()
    names = [absolute(name, Path.cwd()) for name in arguments.names or _available(arguments.source)]
    for name in names:
        check_name(name, folder)
    if arguments.name:
        check_new_name(arguments.name)
        if len(names) > 1:
            raise UserError(f"--name {arguments.name} is for one set: give the others in another command")
    for name in names:
        if name in SOURCES:
            _prepare_published(name, folder, arguments)
        else:
            _prepare_own(name, folder, arguments)
    if arguments.model:
        print(f"{arguments.model}: {'hub' if arguments.dry_run else fetch_model(arguments.model)}")
    return 0


def _prepare_published(name: str, folder: Path, arguments: argparse.Namespace) -> None:
    source, path = SOURCES[name], parquet_path(name, folder)
    if arguments.missing and is_current(source, folder):
        print(f"{source.name}: prepared before: {path}")
        return
    if arguments.dry_run:
        place = source.url.format(hub="hub:") or "generated"
        if arguments.source and source.file:
            place = str(arguments.source / source.file)
        print(f"{source.name}: {place} -> {path}")
        return
    entry = prepare(source.name, folder, arguments.source)
    dropped = "".join(f", {count} dropped ({reason})" for reason, count in entry["dropped"].items())
    print(f"{source.name}: {entry['rows']} rows{dropped} -> {path}")
    if source.sha256 and not entry["revision"]:
        print(f"{source.name}: note: {entry['source']} is not the published file", file=sys.stderr)


def _prepare_own(name: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Prepares and registers a file or a set of the hub; a registered one is prepared again, as it was before."""
    columns = Columns(arguments.problem, arguments.answer, arguments.id)
    options = OwnOptions(
        columns=columns,
        prompt_suffix=arguments.prompt_suffix,
        drop_duplicates=arguments.drop_duplicates,
        answers=not arguments.no_answers,
    )
    called = arguments.name or label(name)
    if not is_own(name):
        before = read_manifest(registered(folder)[name])[name]
        if "asked" not in before:
            raise UserError(f"{name} was made by `data filter`: repeat that command")
        asked = before["asked"]
        name, options = before["given"], OwnOptions(**{**asked, "columns": Columns(**asked["columns"])})
    path, entry = parquet_path(called, folder), read_manifest(folder).get(called, {})
    if arguments.missing and entry.get("given") == name and _is_as_before(name, entry, path):
        print(f"{called}: prepared before: {path}")
        return
    if arguments.dry_run:
        for line in told(called, inspect_own(name, options)):
            print(line)
        print(f"{called}: {name} -> {path}")
        return
    check_new_name(called)
    entry = prepare_own(name, folder, options, called)
    for line in told(called, entry):
        print(line)
    if said := told_overlaps(benchmark_overlaps(lambda: problems_of(path), folder, {})):
        print(f"{called}: {said}")
    print(f"{called}: {entry['rows']:,} rows -> {path}")


def _is_as_before(name: str, entry: Entry, path: Path) -> bool:
    same = is_own(name) and (not Path(name).is_file() or digest_of([Path(name)]) == entry.get("input_sha256"))
    return same and path.is_file()


def _check(arguments: argparse.Namespace) -> int:
    if arguments.output and not arguments.output.resolve().parent.is_dir():
        raise UserError(f"--output {arguments.output}: there is no folder {arguments.output.resolve().parent}")
    if arguments.names:
        return _check_named(arguments)
    checked = [SOURCES[name] for name in _available(arguments.source) if SOURCES[name].is_checked]
    train_sets = [source.name for source in checked if source.split == "train"]
    test_sets = [source.name for source in checked if source.split == "test"]
    console = PlainConsole()
    train = [problem for name in train_sets for problem in read_problems(SOURCES[name], arguments.source)[0]]
    test = [problem for name in test_sets for problem in read_problems(SOURCES[name], arguments.source)[0]]
    overlaps = contamination(train, test)
    _print_overlaps(console, overlaps, "Test problems in the training sets")
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


def _check_named(arguments: argparse.Namespace) -> int:
    """Checks some sets against themselves and against every benchmark that is on this machine."""
    console, found = PlainConsole(), {}
    folder = (
        existing_folder(arguments.data_dir, "give the one that data was prepared in")
        if arguments.data_dir
        else data_dir()
    )
    for given in arguments.names:
        name = absolute(given, Path.cwd())
        check_name(name, folder)
        with TemporaryDirectory() as temporary:
            problems, entry = _read(name, Path(temporary), folder, arguments.source)
            for line in told(given, entry):
                console.print(line, soft_wrap=True)
            overlaps = benchmark_overlaps(problems, folder, {})
            found[given] = [
                overlap for benchmark, (_, some) in overlaps.items() if benchmark != name for overlap in some
            ]
            searched = ", ".join(
                f"{benchmark} ({size})" for benchmark, (size, _) in overlaps.items() if benchmark != name
            )
        _print_overlaps(console, found[given], f"Test problems in {given}")
        told_count = f"{len(found[given])} problems of the benchmarks on this machine are in {given}"
        console.print(f"{told_count}: {searched or 'none is here; deepscaler data prepare'}", soft_wrap=True)
    if arguments.output:
        write_json(arguments.output, {name: [asdict(overlap) for overlap in some] for name, some in found.items()})
    return 0


def _read(
    name: str, temporary: Path, folder: Path, source: Path | None
) -> tuple[Callable[[], Iterator[Problem]], Entry]:
    """Returns what yields a set's problems, and its entry in a manifest, if it has one."""
    if is_own(name):
        entry = prepare_own(name, temporary)
        path = parquet_path(label(name), temporary)
    elif name in SOURCES:
        published = load_problems(name, folder, source)
        return lambda: iter(published), {}
    else:
        path, entry = prepared_path(name, folder), read_manifest(registered(folder)[name])[name]
    return lambda: problems_of(path), entry


def _print_overlaps(console: Any, overlaps: list[Any], title: str) -> None:
    table = new_table(["test problem", "training problem", "match", "similarity"], (0, 1, 2))
    for overlap in overlaps:
        add_row(table, [overlap.test_id, overlap.train_id, overlap.kind, f"{overlap.similarity:.2f}"])
    print_table(console, title, table)


def _available(folder: Path | None) -> list[str]:
    """Returns all published sets, or those whose file a --source folder holds."""
    if folder is not None:
        existing_folder(folder, "give the --source that holds aime.json, amc.json, ...")
    found = [s.name for s in SOURCES.values() if s.file and (folder is None or (folder / s.file).is_file())]
    if not found:
        raise UserError(f"--source {folder} holds no data set; give the folder with aime.json, train/aime.json, ...")
    return found


def _is_any_published(values: Mapping[str, Any]) -> bool:
    """Returns whether one of the chosen sets has a published file; a name that is unknown is refused elsewhere."""
    names = values.get("names", [])
    known = [name for name in names if is_own(name) or name in KNOWN]
    return len(known) < len(names) or not names or any(name in SOURCES and SOURCES[name].file for name in names)


def _is_any_own(values: Mapping[str, Any]) -> bool:
    return any(is_own(name) for name in values.get("names", []))
