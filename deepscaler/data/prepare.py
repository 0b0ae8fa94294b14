"""Writes a data set as parquet in verl's schema, with a manifest of the rows used and dropped.

data/aime.parquet
data/manifest.json   {"aime": {"rows": 30, "dropped": {}, "input_sha256": ..., "output_sha256": ..., "revision": ...}}
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from deepscaler.data.clean import clean_rows
from deepscaler.data.fetch import cached_file, read_rows, source_file
from deepscaler.data.names import MANIFEST, registered
from deepscaler.data.problem import Problem
from deepscaler.data.sources import SOURCES, Source
from deepscaler.data.table import problems_of
from deepscaler.system.errors import UserError, unknown
from deepscaler.system.files import alone, atomic_path, reason, sha256, write_json


def prepare(name: str, data_dir: Path, folder: Path | None = None) -> dict[str, Any]:
    """Writes `<data_dir>/<name>.parquet` atomically and returns its manifest entry. Equal input gives equal bytes."""
    source = source_named(name)
    problems, dropped, provenance = read_problems(source, folder)
    path = parquet_path(name, data_dir)
    try:
        with locked_manifest(data_dir) as entries:
            _write_parquet(problems, source, path)
            entry = {
                "rows": len(problems),
                "dropped": dict(sorted(dropped.items())),
                **provenance,
                "output_sha256": sha256(path),
            }
            write_json(data_dir / MANIFEST, dict(sorted({**entries, name: entry}.items())))
    except OSError as error:
        advice = "set DEEPSCALER_CACHE to a writable folder, or choose another folder for the data"
        raise UserError(f"cannot write {path}: {error.strerror}; {advice}") from error
    return entry


def load_problems(name: str, data_dir: Path, source: Path | None = None) -> list[Problem]:
    """Returns the problems of a prepared data set, after preparing it if it is missing or out of date.

    With a source folder, reads them from there and writes nothing.
    """
    if name not in SOURCES:
        return list(problems_of(prepared_path(name, data_dir)))
    if source is not None:
        return read_problems(source_named(name), source)[0]
    if not is_current(source_named(name), data_dir):
        prepare(name, data_dir)
    return _read_parquet(name, data_dir)


def prepared_path(name: str, data_dir: Path) -> Path:
    """Returns the file of a set that was registered here. Raises UserError if it is gone or was changed."""
    folder = registered(data_dir).get(name, data_dir)
    entry, path = read_manifest(folder).get(name), parquet_path(name, folder)
    if entry is None:
        raise unknown("data set", name, [*SOURCES, *registered(data_dir)])
    if not path.is_file() or sha256(path) != entry.get("output_sha256"):
        again = f"deepscaler data prepare {entry.get('given', 'FILE')} --name {name}"
        raise UserError(f"{path} is missing or was changed; prepare it again: {again}")
    return path


def present_problems(name: str, data_dir: Path, source: Path | None = None) -> list[Problem] | None:
    """Returns the problems of a data set that is on this machine, prepared or not; None if it has to be fetched.

    The function itself neither fetches nor writes anything.
    """
    if name not in SOURCES:
        return list(problems_of(prepared_path(name, data_dir)))
    found = source_named(name)
    if source is None and is_current(found, data_dir):
        return _read_parquet(name, data_dir)
    if source is not None or not found.file or cached_file(found).is_file():
        return read_problems(found, source)[0]
    return None


def _read_parquet(name: str, data_dir: Path) -> list[Problem]:
    from pyarrow import parquet  # noqa: PLC0415  keeps `deepscaler --help` quick

    path = parquet_path(name, data_dir)
    try:
        rows = parquet.ParquetFile(path).read().to_pylist()  # `read_table` imports pandas
        return [Problem.from_verl_row(row) for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a prepared data set ({reason(error)}); delete it or run: deepscaler data prepare {name}"
        ) from error


def read_manifest(data_dir: Path) -> dict[str, Any]:
    """Returns the manifest's entries by data set; empty if there is none. Raises UserError for a broken one."""
    path = data_dir / MANIFEST
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(entries, dict) and all(isinstance(entry, dict) for entry in entries.values()):
            return entries
    except (ValueError, RecursionError):
        pass
    raise UserError(f"{path} is not a manifest; delete it, then run: deepscaler data prepare")


def read_problems(source: Source, folder: Path | None) -> tuple[list[Problem], Counter[str], dict[str, Any]]:
    """Returns the problems, the reasons for dropped rows, and their origin. Raises UserError if no problem is left."""
    problems, dropped, provenance = _generated(source) if not source.file else _published(source, folder)
    if not problems:
        raise UserError(f"{source.name}: no usable problem among {sum(dropped.values())} rows; dropped {dict(dropped)}")
    return problems, dropped, provenance


def _generated(source: Source) -> tuple[list[Problem], Counter[str], dict[str, Any]]:
    from deepscaler.data.arithmetic import SEEDS, generate  # noqa: PLC0415  imported where it is generated

    provenance = {"generator": "reasoning-gym", "seed": SEEDS[source.name], "revision": _revision(source)}
    return generate(source.name), Counter(), provenance


def _published(source: Source, folder: Path | None) -> tuple[list[Problem], Counter[str], dict[str, Any]]:
    """Returns a published set. A local file counts as the pinned revision only if its hash matches."""
    file = source_file(source, folder)
    problems, dropped = clean_rows(read_rows(file, source.name), source)
    digest = sha256(file)
    # A download was compared with its pin when it came.
    is_pinned = folder is None or digest == source.sha256
    return (
        problems,
        dropped,
        {
            "source": str(file.resolve()) if folder else source.url.format(hub="hub:"),
            "revision": source.revision if is_pinned else "",
            "input_sha256": digest,
            **_fixes(source),
        },
    )


def is_current(source: Source, data_dir: Path) -> bool:
    """Returns whether the prepared file matches the manifest and comes from the pinned revision or a user's file."""
    path, entry = parquet_path(source.name, data_dir), read_manifest(data_dir).get(source.name, {})
    if not path.is_file() or entry.get("output_sha256") != sha256(path):
        return False
    revisions = ("", source.revision) if source.file else (_revision(source),)
    # An empty revision is a file that the user gave: it stays until the user gives another.
    return entry.get("revision") in revisions and _fixes(source).items() <= entry.items()


def _revision(source: Source) -> str:
    """Returns the pinned revision; for a generated set, the hash of the module that generates it."""
    if source.file:
        return source.revision
    # Any edit of the generator may change its sums, so its text is their version, comments included.
    return hashlib.sha256(resources.files("deepscaler.data").joinpath("arithmetic.py").read_bytes()).hexdigest()[:40]


def _fixes(source: Source) -> dict[str, str]:
    """Returns the hash of the corrected golds, if a set has some."""
    if not source.fixes:
        return {}
    content = resources.files("deepscaler.data").joinpath(source.fixes).read_bytes()
    return {"fixes_sha256": hashlib.sha256(content).hexdigest()}


def source_named(name: str) -> Source:
    """Returns the source of a name. Raises UserError that lists the valid names."""
    if name not in SOURCES:
        raise unknown("data set", name, SOURCES)
    return SOURCES[name]


def parquet_path(name: str, data_dir: Path) -> Path:
    """Returns the path of a prepared data set."""
    return data_dir / f"{name}.parquet"


def _write_parquet(problems: list[Problem], source: Source, path: Path) -> None:
    import pyarrow  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    # From a list in one order: equal input gives equal bytes, and a run is bound to their hash.
    rows = [problem.to_verl_row(source.split, index) for index, problem in enumerate(problems)]
    with atomic_path(path) as temporary:
        parquet.write_table(pyarrow.Table.from_pylist(rows), temporary)


@contextmanager
def locked_manifest(data_dir: Path) -> Iterator[dict[str, Any]]:
    """Yields the manifest's entries while no other process prepares anything into this folder."""
    with alone(data_dir, f"preparing data into {data_dir}"):
        yield read_manifest(data_dir)
