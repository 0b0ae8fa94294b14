"""Composes a run's data: the sets that its recipe names become the run's own two files, which never change again.

<run>/data/train.parquet  validation.parquet      what verl reads
<run>/data/data.json      {"of": {"train": ["/home/me/sums.jsonl", ...], ...}, "files": {"train.parquet": sha256}, ...}
<run>/data/sources/       the run's copies of the user's own sets, prepared, with a manifest
<run>/data/submitted      exists if a launcher has made these copies: the job trains on them

A run copies its data instead of naming files. So later edits of a file change nothing, and a job needs to see only the
run's folder. A single set of the kit is copied byte by byte. Several follow one another; verl shuffles them.
"""

import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deepscaler.data.names import MANIFEST, check_name, labels
from deepscaler.data.own import Entry, OwnOptions, benchmark_overlaps, check_own, keep_own, told, told_overlaps
from deepscaler.data.prepare import load_problems, parquet_path, read_manifest
from deepscaler.data.problem import SUFFIX
from deepscaler.data.sources import SOURCES
from deepscaler.data.table import Row, copy_rows, num_rows, problems_of, rows_of
from deepscaler.system.errors import UserError
from deepscaler.system.files import atomic_path, read_json, sha256, write_json

TRAIN, VALIDATION = "train.parquet", "validation.parquet"

MOST_REPEATED = 10
"""Most times that a composed file may exceed the rows of its sets; beyond that, large sets are sampled instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Holds a recipe's choice of data."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    weights: tuple[float, ...] = ()
    prompt_suffix: str = SUFFIX
    own: OwnOptions = field(default_factory=OwnOptions)
    seed: int = 0
    """Seed that chooses the rows of a set that is not taken whole."""

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the names of all sets, each once."""
        return tuple(dict.fromkeys((*self.train, *self.validation)))

    @property
    def own_names(self) -> tuple[str, ...]:
        """Returns the names of the user's own sets."""
        return tuple(name for name in self.names if name not in SOURCES)


@dataclass(frozen=True, slots=True)
class RunData:
    """Holds the folder of a run's data, its data.json and notes for the user."""

    folder: Path
    record: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def train(self) -> Path:
        """Returns the file of the problems to train on."""
        return self.folder / TRAIN

    @property
    def hashes(self) -> dict[str, str]:
        """Returns the hashes of both files, and of the prepared sets that they were made from."""
        return {**self.record["files"], **{name: one["sha256"] for name, one in self.record["sets"].items()}}


def data_folder(run: Path) -> Path:
    """Returns where a run keeps its data."""
    return run / "data"


def sources_folder(run: Path) -> Path:
    """Returns where a run keeps its copies of the user's own sets; `names.look_in` makes registered ones known."""
    return data_folder(run) / "sources"


def take_sources(mixture: Mixture, run: Path, look: Path, *, dry_run: bool = False) -> list[str]:
    """Copies a recipe's own files, registered sets and hub sets into the run's folder; returns notes for the user.

    A launcher calls this before it submits, because the job reads only the run's folder. A run that has begun keeps
    its copies, and a note says so. With `dry_run` the function checks the sets and writes nothing. Memory and time are
    bounded. Raises UserError for a set that cannot be used.
    """
    labels(mixture.names)
    if dry_run:
        for name in mixture.own_names:
            if not is_kept(name, run):
                check_own(name, look, mixture.own)
        return []
    # Both: a submission that never started may be renewed, a run that has begun may not.
    begun = (data_folder(run) / "data.json").is_file() and (run / "run.json").is_file()
    said: list[str] = []
    for name in mixture.own_names:
        _, entry, changed = keep_own(name, sources_folder(run), mixture.own, look, renew=not begun)
        said += [_goes_on(changed)] if changed else [] if begun else list(told(name, entry))
    if mixture.own_names:
        # Written last: the job trains on these copies only if all of them are there.
        (data_folder(run) / "submitted").touch()
    return said


def compose(mixture: Mixture, run: Path, look: Path) -> RunData:
    """Returns the run's own data, which is made at its first start and read as it is at every later one.

    Raises UserError for a set that cannot be used, and for a copy that is no longer what it was.
    """
    labels(mixture.names)
    folder, of = data_folder(run), _as_json(mixture)
    begun, submitted = (run / "run.json").is_file(), (folder / "submitted").is_file()
    kept = read_json(folder / "data.json") if (folder / "data.json").is_file() else {}
    # What was submitted stays although nothing has begun: the user may have edited the file since.
    stays = begun or submitted
    sources: dict[str, Path] = {}
    notes: list[str] = []
    if kept.get("of") == of and begun:
        _check(folder, kept)
        notes += [_goes_on(changed) for changed in _changes(mixture, run, look, kept)]
        return RunData(folder, kept, (*notes, *kept["notes"]))
    entries: dict[str, Entry] = {}
    for name in mixture.names:
        if name in SOURCES:
            load_problems(name, look)
            sources[name], entries[name] = parquet_path(name, look), read_manifest(look)[name]
        else:
            sources[name], entries[name], changed = keep_own(
                name, sources_folder(run), mixture.own, look, renew=not stays
            )
            notes += [_goes_on(changed)] if changed else []
            notes += told(name, entries[name])
    # Asked again, because preparing and fetching sets takes minutes, and the files of a run that has begun stay.
    if not begun and (run / "run.json").is_file():
        raise UserError(f"another process has begun {run} meanwhile: rerun the same command, or take another folder")
    record = _write(mixture, folder, sources, look) | {"of": of}
    record["sets"] = {
        name: {
            "sha256": entry["output_sha256"],
            "rows": entry["rows"],
            **{key: entry[key] for key in ("source", "revision", "input_sha256", "generator") if key in entry},
        }
        for name, entry in entries.items()
    }
    # Last, so that a kill before it makes the next start compose everything again.
    write_json(folder / "data.json", record)
    return RunData(folder, record, (*notes, *record["notes"]))


def check_composed(run: Path, hashes: Mapping[str, str]) -> None:
    """Raises UserError if a run's files are not those of these hashes, before anything is bound to them.

    Composing comes before a process owns the run: another start, of other options perhaps, may have composed since.
    """
    for name in (TRAIN, VALIDATION):
        path = data_folder(run) / name
        if not path.is_file() or sha256(path) != hashes[name]:
            raise UserError(f"{path} was replaced by another start of {run} a moment ago: rerun the same command")


def planned(mixture: Mixture, run: Path, look: Path) -> tuple[Path, Path]:
    """Returns the files that a run will read, once its own sets are checked; writes nothing. Raises UserError."""
    for name in mixture.names:
        check_name(name, sources_folder(run), look)
    take_sources(mixture, run, look, dry_run=True)
    return data_folder(run) / TRAIN, data_folder(run) / VALIDATION


def copies(sizes: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Returns how many rows of each set make up the file: shares follow the weights, and every set appears in full.

    [500, 2000], [0.7, 0.3] -> [4667, 2000]: the small set appears nine times, and a third of it once more.
    """
    if not weights:
        return list(sizes)
    shares = [weight / sum(weights) for weight in weights]
    # The smallest file in which every set is whole; sampling less would throw problems away.
    total = max(size / share for size, share in zip(sizes, shares, strict=True))
    total = min(total, MOST_REPEATED * sum(sizes))
    return [max(1, round(total * share)) for share in shares]


def _write(mixture: Mixture, folder: Path, sources: dict[str, Path], look: Path) -> dict[str, Any]:
    """Writes both files; returns their hashes, the rows taken from each set, and notes for the user."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [sources[name] for name in mixture.train]
    sizes = [num_rows(file) for file in files]
    wanted = copies(sizes, mixture.weights)
    for target, chosen, numbers in (
        (TRAIN, files, wanted),
        (VALIDATION, [sources[name] for name in mixture.validation], None),
    ):
        # Copied even where one set is taken whole: a link would follow what becomes of the original.
        as_it_is = len(chosen) == 1 and mixture.prompt_suffix == SUFFIX and numbers in (None, sizes)
        with atomic_path(folder / target) as temporary:
            if as_it_is:  # byte for byte, so the file has the hash of the prepared set
                shutil.copyfile(chosen[0], temporary)
            else:
                copy_rows(_rows(chosen, numbers, mixture.seed), temporary, _asker(mixture.prompt_suffix))
    notes = []
    if mixture.weights:
        parts = [
            f"{name}: {number:,} rows of {size:,}"
            for name, number, size in zip(mixture.train, wanted, sizes, strict=True)
        ]
        notes.append(f"training data by weights: {', '.join(parts)}")
    # The sets that this run validates on count as tests here, too.
    held_out = {name: list(problems_of(sources[name])) for name in mixture.validation if name not in mixture.train}
    found = benchmark_overlaps(lambda: problems_of(folder / TRAIN), look, held_out)
    if said := told_overlaps(found):
        notes.append(said)
    contaminated = {
        name: [asdict(overlap) for overlap in overlaps] for name, (_, overlaps) in found.items() if overlaps
    }
    return {
        "files": {name: sha256(folder / name) for name in (TRAIN, VALIDATION)},
        "taken": dict(zip(mixture.train, wanted, strict=True)),
        "contamination": contaminated,
        "notes": notes,
    }


def _rows(files: Sequence[Path], numbers: Sequence[int] | None, seed: int) -> Iterator[Row]:
    """Yields the given numbers of rows of each file: whole copies, then rows that a seed chooses, in file order."""
    for index, file in enumerate(files):
        size = num_rows(file)
        whole, rest = divmod(numbers[index], size) if numbers else (1, 0)
        for _ in range(whole):
            yield from rows_of(file)
        if rest:
            # a generator per set: adding another set does not change the rows of this one
            chosen = set(random.Random(f"{seed}/{index}").sample(range(size), rest))
            yield from (row for number, row in enumerate(rows_of(file)) if number in chosen)


def _asker(suffix: str) -> Callable[[Row], Row]:
    """Returns a function that replaces the suffix of a row's question; prompts without the usual suffix stay."""

    def ask(row: Row) -> Row:
        last = row["prompt"][-1]
        if suffix != SUFFIX and last["content"].endswith(SUFFIX):
            # Only where the usual suffix ends it: a prompt of the user's own is the user's.
            last["content"] = last["content"].removesuffix(SUFFIX) + suffix
        return row

    return ask


def _check(folder: Path, record: dict[str, Any]) -> None:
    for name, digest in record["files"].items():
        path = folder / name
        if not path.is_file() or sha256(path) != digest:
            raise UserError(f"{path} has changed since this run began: restore the file, or give another --output-dir")


def _changes(mixture: Mixture, run: Path, look: Path, record: dict[str, Any]) -> Iterator[str]:
    """Yields a text for each set that has changed since the run copied it; a set that is gone does not matter."""
    for name in mixture.names:
        if name in SOURCES:
            now = read_manifest(look).get(name, {}).get("output_sha256")
            if now and now != record["sets"][name]["sha256"]:
                yield f"{name} has changed since"
        elif is_kept(name, run):
            _, _, changed = keep_own(name, sources_folder(run), mixture.own, look, renew=False)
            if changed:
                yield changed


def is_kept(name: str, run: Path) -> bool:
    """Returns whether a run has its own copy of a user's set, which it reads whatever became of the original."""
    folder = sources_folder(run)
    entries = read_manifest(folder).values() if (folder / MANIFEST).is_file() else ()
    return any(entry.get("name", entry.get("given")) == name for entry in entries)


def _goes_on(changed: str) -> str:
    return f"{changed} this run copied it: the run continues with its copy"


def _as_json(mixture: Mixture) -> dict[str, Any]:
    """Returns the parts of a mixture that decide a run's rows."""
    return {
        "train": list(mixture.train),
        "validation": list(mixture.validation),
        "weights": list(mixture.weights),
        "prompt_suffix": mixture.prompt_suffix,
        "columns": asdict(mixture.own.columns),
        # Without weights every row is taken, so another seed is the same data.
        **({"seed": mixture.seed} if mixture.weights else {}),
    }
