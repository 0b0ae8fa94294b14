"""`deepscaler data prepare`: parquet files in verl's schema, and what else a training starts from."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepscaler.commands.counting import counts_if, counts_with
from deepscaler.commands.parser import Parser, folder_to_write, named, offer
from deepscaler.data.columns import Columns
from deepscaler.data.names import KNOWN, absolute, check_name, check_new_name, is_own, label, registered
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
from deepscaler.data.prepare import is_current, parquet_path, prepare, read_manifest
from deepscaler.data.problem import SUFFIX
from deepscaler.data.sources import SOURCES
from deepscaler.data.table import problems_of
from deepscaler.models.model import fetch_model
from deepscaler.output.terminal import PlainConsole
from deepscaler.recipes.load import load_recipe
from deepscaler.recipes.published import NAMES
from deepscaler.recipes.recipe import Recipe
from deepscaler.system.errors import UserError
from deepscaler.system.paths import data_dir, existing_folder


def add_prepare(parser: Parser) -> None:
    """Adds the sets, the folder and what else to prepare, and the options of a set of your own."""
    names = parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="data sets to prepare: names, files or hub:ORG/NAME (default: all published)",
    )
    offer(names, KNOWN, files="jsonl")
    parser.add_argument(
        "--output-dir",
        "--data-dir",
        type=folder_to_write,
        metavar="DIR",
        help="folder to write to, which others read by --data-dir (default: <cache>/data)",
    )
    parser.add_argument("--missing", action="store_true", help="skip data sets that are prepared and up to date")
    parser.add_argument(
        "--model", metavar="HUB_ID", help="also fetch a model into the cache, so that training and evaluation find it"
    )
    offer(
        parser.add_argument(
            "--compile",
            metavar="RECIPE",
            help="also train one step of a recipe here and keep the compiled kernels for all machines with this GPU",
        ),
        NAMES,
        files="toml",
    )
    device = parser.add_argument(
        "--device",
        choices=("cuda", "cpu"),
        default="cuda",
        help="device on which --compile trains its step (default: %(default)s)",
    )
    counts_with(device, "--compile")
    parser.add_dry_run("say what would be written, write nothing")
    add_source(parser)
    own = parser.add_argument_group("a set of your own")
    for action in (
        own.add_argument(
            "--name", type=named, metavar="NAME", help="name to register the set under (default: its file's name)"
        ),
        own.add_argument(
            "--problem",
            metavar="COLUMN",
            default="",
            help="column that holds the problem (default: found by its usual names)",
        ),
        own.add_argument(
            "--answer",
            metavar="COLUMN",
            default="",
            help="column that holds the answer (default: found by its usual names)",
        ),
        own.add_argument(
            "--id",
            metavar="COLUMN",
            default="",
            help="column that identifies a problem (default: found by its usual names, else a hash)",
        ),
        own.add_argument(
            "--prompt-suffix", default=SUFFIX, help="text that follows each problem (default: %(default)r)"
        ),
        own.add_argument(
            "--drop-duplicates", action="store_true", help="leave out all but the first of similar problems"
        ),
        own.add_argument(
            "--no-answers",
            action="store_true",
            help="accept rows without an answer: for rewards without the part grader",
        ),
    ):
        counts_if(action, "for a file or a set of the hub", "name one", _is_any_own)
    parser.set_defaults(act=_prepare)


def add_source(parser: Parser) -> None:
    """Adds the folder with the published files."""
    source = parser.add_argument(
        "--source", type=Path, metavar="DIR", help="folder with the data sets' JSON files (no download)"
    )
    counts_if(source, "for published sets", "name one", _is_any_published)


def _prepare(arguments: argparse.Namespace) -> int:
    folder = arguments.output_dir or data_dir()
    recipe = load_recipe(arguments.compile) if arguments.compile else None
    # absolute, because the manifest keeps the name and a later command may run in another folder
    names = [absolute(name, Path.cwd()) for name in arguments.names or available(arguments.source)]
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
    return _compile(recipe, arguments) if recipe else 0


def _compile(recipe: Recipe, arguments: argparse.Namespace) -> int:
    """Trains one step of a recipe, so that its kernels are compiled once and not on every machine."""
    from deepscaler.training.compile_once import compile_once, describe_compilation  # noqa: PLC0415  seldom

    if arguments.dry_run:
        describe_compilation(recipe, PlainConsole())
        return 0
    return compile_once(recipe, arguments.device, arguments.output_dir, PlainConsole())


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
        # Not an error: whoever gives --source may mean another version.
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


def available(folder: Path | None) -> list[str]:
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
