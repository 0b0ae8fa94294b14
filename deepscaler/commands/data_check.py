"""`deepscaler data check`: problems that two sets share, and golds that contradict their solution."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deepscaler.commands.data_prepare import add_source, available
from deepscaler.commands.parser import Parser, offer
from deepscaler.data.check import contamination, contradictions
from deepscaler.data.names import KNOWN, absolute, check_name, is_own, label, registered
from deepscaler.data.own import Entry, benchmark_overlaps, prepare_own, told
from deepscaler.data.prepare import load_problems, parquet_path, prepared_path, read_manifest, read_problems
from deepscaler.data.problem import Problem
from deepscaler.data.sources import SOURCES
from deepscaler.data.table import problems_of
from deepscaler.output.terminal import PlainConsole, add_row, new_table, print_table
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_json
from deepscaler.system.paths import data_dir, existing_folder


def add_check(parser: Parser) -> None:
    """Adds the sets, their folder and the file of findings."""
    offer(
        parser.add_argument("names", nargs="*", metavar="NAME", help="data sets to check (default: all published)"),
        KNOWN,
        files="jsonl",
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of prepared data (default: <cache>/data)")
    parser.add_argument("--output", type=Path, help="also write the findings to this JSON file")
    parser.set_defaults(act=_check)
    add_source(parser)


def _check(arguments: argparse.Namespace) -> int:
    # First of all: the search takes its time, and nothing of it would be left.
    if arguments.output and not arguments.output.resolve().parent.is_dir():
        raise UserError(
            f"--output {arguments.output}: there is no folder {arguments.output.resolve().parent}; make it first"
        )
    if arguments.names:
        return _check_named(arguments)
    checked = [SOURCES[name] for name in available(arguments.source) if SOURCES[name].is_checked]
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
            # within the `with`: only now the problems are read from the temporary folder
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
    """Returns an iterator over a set's problems, and its entry in a manifest, if it has one."""
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
