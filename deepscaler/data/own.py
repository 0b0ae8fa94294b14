"""Prepares a user's own sets: a file or a hub set becomes a parquet file and an entry beside the kit's own sets.

data/mine.parquet
data/manifest.json   {"mine": {"given": ".../sums.jsonl", "rows": 498, "dropped": {"null answer": 2}, "first": {...},
                               "columns": {"problem": "question", "answer": "final", "id": ""}, "duplicates": 0, ...}}
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepscaler.data import hub
from deepscaler.data.check import Overlap, most_similar, overlap
from deepscaler.data.columns import Columns
from deepscaler.data.convert import convert
from deepscaler.data.names import MANIFEST, is_hub, is_own, label, parse_hub, registered
from deepscaler.data.prepare import locked_manifest, parquet_path, prepared_path, present_problems, read_manifest
from deepscaler.data.problem import SUFFIX, Problem
from deepscaler.data.rows import check_readable
from deepscaler.data.similar import MAX_COMPARED
from deepscaler.data.sources import SOURCES
from deepscaler.system.errors import UserError
from deepscaler.system.files import atomic_path, sha256, write_json

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnOptions:
    """Holds the options for reading a user's own set and building its prompts."""

    columns: Columns = Columns()
    prompt_suffix: str = SUFFIX
    drop_duplicates: bool = False
    split: str = "train"
    answers: bool = True
    """True if each row must have an answer that the grader can read."""


DEFAULT = OwnOptions()

FIXES = {
    "no problem": "write the problem, or remove the row",
    "problem is not text": "write it as text, or as chat messages that end with the user's",
    "problem is too long": "shorten it",
    "row is not an object": 'write it as {"problem": ..., "answer": ...}',
    "null answer": "give the answer, or remove the row",
    "empty answer": "give the answer, or remove the row",
    "answer is neither text nor a number": "write it as text, as a finite number, or as a list of these",
    "solution has no \\boxed{} and no ####": "mark the final answer, or name the column that holds it",
    "text is not valid Unicode": "repair its \\ud800 to \\udfff",
    "duplicate": "the first one stays",
}
"""Advice about rows that were left out, by reason. For golds that the grader cannot read, the reason says it all."""


def prepare_own(name: str, folder: Path, options: OwnOptions = DEFAULT, called: str = "") -> Entry:
    """Prepares a file or a hub set in a folder of prepared data, and returns its entry in the manifest.

    `called` is the name to register it under; without one, it has the label of its own name. Raises UserError for any
    fault of the set, and leaves nothing half-written.
    """
    short = called or label(name)
    files, origin = _files_of(name)
    path = parquet_path(short, folder)
    try:
        # The lock outside: two processes that prepare one name would otherwise pair one's file with the other's entry.
        with locked_manifest(folder) as entries, atomic_path(path) as temporary:
            report = convert(_request(files, str(temporary), short, options))
            entry = {
                **report,
                **origin,
                "given": name,
                "asked": asdict(options),
                "input_sha256": digest_of(files),
                "output_sha256": sha256(temporary),
                "registered": bool(called),
            }
            # The entry comes first: a new file without its entry would count as the set that was there before.
            write_json(folder / MANIFEST, dict(sorted({**entries, short: entry}.items())))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another folder for the data") from error
    return entry


def inspect_own(name: str, options: OwnOptions = DEFAULT) -> Entry:
    """Reads a file or a hub set as `prepare_own` does, but writes nothing. Raises UserError."""
    if is_hub(name):
        parse_hub(name)
        return {}
    return convert(_request([Path(name)], "", label(name), options))


def keep_own(name: str, folder: Path, options: OwnOptions, look: Path, *, renew: bool) -> tuple[Path, Entry, str]:
    """Returns the file and entry of a folder's own copy of a set, and a text if the original has changed since.

    A missing set is prepared. A registered set, or a hub set that was prepared before, is copied from the folder
    `look`. With `renew`, a set whose original has changed is taken again.
    """
    short = label(name)
    path, entry = parquet_path(short, folder), read_manifest(folder).get(short, {})
    # Two files of one stem have one label, so the label alone does not show whose copy it is.
    is_kept = entry.get("name", entry.get("given")) == name and path.is_file()
    is_kept = is_kept and (not is_own(name) or entry.get("asked") == asdict(options))
    # A copy that was changed by hand is made again, like a missing one.
    if is_kept and sha256(path) == entry.get("output_sha256"):
        changed = _change(name, entry, look)
        # Before a run begins its copy follows the original; after that it stays, and a note says so.
        if not (changed and renew):
            _check_answers(name, entry, options)
            return path, entry, changed
    found = _prepared_before(name, look, options)
    if found:
        _copy(name, found, folder)
    elif is_own(name):
        prepare_own(name, folder, options)
    else:
        raise UserError(f"{name} is no longer registered: run deepscaler data prepare FILE --name {name}")
    _check_answers(name, read_manifest(folder)[short], options)
    return path, read_manifest(folder)[short], ""


def check_own(name: str, look: Path, options: OwnOptions = DEFAULT) -> None:
    """Raises UserError if a user's own set cannot be used. Reads the set, but writes and fetches nothing."""
    if is_own(name):
        inspect_own(name, options)
    else:
        prepared_path(name, look)
        _check_answers(name, read_manifest(look).get(name, {}), options)


def told(name: str, entry: Entry) -> Iterator[str]:
    """Yields notes about a prepared set, a line each: its columns and golds, omitted rows, and copies."""
    columns = entry.get("columns", {})
    if not columns:
        return
    used = ", ".join(f"{part} = {column!r}" for part, column in columns.items() if column)
    yield f"{name}: columns: {used}" + ("" if columns["id"] else ", id = a hash of the text")
    if count := entry.get("without_answer"):
        yield f"{name}: {_rows(count)} lack an answer that the grader reads: use rewards without the part grader"
    for where, count in entry.get("golds", {}).items():
        yield f"{name}: the answer of {_rows(count)} is the text {where}"
    for why, count in entry.get("dropped", {}).items():
        fix = FIXES.get(why, "fix them")
        yield f"{name}: {_rows(count)} left out: {why} (first: {entry['first'][why]}); {fix}"
    if (count := entry.get("repeated_ids")) and columns["id"]:
        yield f"{name}: {count:,} ids are repeated; they are numbered (7, 7~2, 7~3)"
    if entry.get("duplicates") or entry.get("near_duplicates"):
        kept = "left out" if entry.get("asked", {}).get("drop_duplicates") else "kept; --drop-duplicates omits them"
        yield f"{name}: {entry['duplicates']:,} duplicates and {entry['near_duplicates']:,} near-duplicates ({kept})"
    if not entry.get("all_compared", True):
        yield f"{name}: the search for near-duplicates covered only the first {MAX_COMPARED:,} different problems"


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def benchmark_overlaps(
    problems: Callable[[], Iterable[Problem]], data_dir: Path, also: dict[str, list[Problem]]
) -> dict[str, tuple[int, list[Overlap]]]:
    """Returns the size and the overlaps of every benchmark on this machine, and of the sets in `also`."""
    tests = {name: found for name in SOURCES if (found := _benchmark(name, data_dir))} | also
    # One search for all benchmarks, so every problem is split into n-grams only once.
    together = [problem for found in tests.values() for problem in found]
    best = most_similar(problems(), together)
    result, start = {}, 0
    for name, found in tests.items():
        own = range(start, start := start + len(found))
        result[name] = (len(found), [overlap(together[index], *best[index]) for index in own if index in best])
    return result


def told_overlaps(found: dict[str, tuple[int, list[Overlap]]]) -> str:
    """Returns one line about the benchmarks whose problems were found; empty if there are none."""
    parts = [f"{len(overlaps)} of {size} of {name}" for name, (size, overlaps) in found.items() if overlaps]
    return f"contamination: it holds {', '.join(parts)}, word for word or nearly" if parts else ""


def digest_of(files: list[Path]) -> str:
    """Returns the hash of a file, or of the hashes of several."""
    hashes = [sha256(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hub.digest(hashes)


def _benchmark(name: str, data_dir: Path) -> list[Problem] | None:
    source = SOURCES[name]
    return present_problems(name, data_dir) if source.split == "test" and source.is_checked else None


def _files_of(name: str) -> tuple[list[Path], dict[str, str]]:
    """Returns the files of a set and their origin; files fetched from the hub stay in its cache."""
    if is_hub(name):
        files, commit, split = hub.fetch(name)
        return files, {"source": hub.pinned(name, commit, split), "revision": commit}
    file = Path(name)
    check_readable(file)
    return [file], {"source": str(file.resolve()), "revision": ""}


def _check_answers(name: str, entry: Entry, options: OwnOptions) -> None:
    """Raises UserError if answers are required but a registered set was prepared without some."""
    if options.answers and (count := entry.get("without_answer")):
        raise UserError(
            f"{name}: {_rows(count)} of {entry['rows']:,} lack an answer, which only rewards without the part grader"
            f" allow; prepare it again without --no-answers"
        )


def _request(files: list[Path], target: str, short: str, options: OwnOptions) -> dict[str, Any]:
    return {
        "files": [str(file) for file in files],
        "target": target,
        "label": short,
        "columns": asdict(options.columns),
        "suffix": options.prompt_suffix,
        "split": options.split,
        "drop_duplicates": options.drop_duplicates,
        "answers": options.answers,
    }


def _prepared_before(name: str, look: Path, options: OwnOptions) -> Path | None:
    """Returns the folder of a registered set, or of a hub set prepared with the same options; None for a file."""
    if not is_own(name):
        return registered(look).get(name)
    entry = read_manifest(look).get(label(name), {}) if is_hub(name) else {}
    return look if entry.get("given") == name and entry.get("asked") == asdict(options) else None


def _copy(name: str, source: Path, folder: Path) -> None:
    short = label(name)
    prepared_path(short, source)
    entry = read_manifest(source)[short]
    with locked_manifest(folder) as entries, atomic_path(parquet_path(short, folder)) as temporary:
        shutil.copyfile(parquet_path(short, source), temporary)
        write_json(folder / MANIFEST, dict(sorted({**entries, short: {**entry, "name": name}}.items())))


def _change(name: str, entry: Entry, look: Path) -> str:
    """Returns a text if the original of a kept set has changed; empty if it has not, or is not on this machine."""
    if is_hub(name):
        return ""
    if is_own(name):
        path = Path(name)
        same = not path.is_file() or digest_of([path]) == entry.get("input_sha256")
    else:
        folders = registered(look)
        theirs = read_manifest(folders[name]).get(name, {}) if name in folders else {}
        same = not theirs or theirs.get("output_sha256") == entry.get("output_sha256")
    return "" if same else f"{name} has changed since"
