"""Write a data set as parquet in verl's schema, with a manifest of what went in and what was left out.

data/aime.parquet
data/manifest.json   {"aime": {"rows": 30, "dropped": {}, "input_sha256": ..., "output_sha256": ..., "revision": ...}}
"""

import fcntl
import json
from collections import Counter
from pathlib import Path
from typing import Any

from deepscaler.data.clean import clean_rows
from deepscaler.data.fetch import read_rows, source_file
from deepscaler.data.problem import Problem
from deepscaler.data.sources import SOURCES, Source
from deepscaler.errors import UserError, unknown
from deepscaler.files import atomic_path, sha256, write_json

MANIFEST = "manifest.json"


def prepare(name: str, data_dir: Path, folder: Path | None = None) -> dict[str, Any]:
    """Write `<data_dir>/<name>.parquet` atomically and return its manifest entry. Same input, same bytes."""
    source = source_named(name)
    problems, dropped, provenance = read_problems(source, folder)
    if not problems:
        raise UserError(f"{name}: no usable problem among {sum(dropped.values())} rows; dropped {dict(dropped)}")
    path = parquet_path(name, data_dir)
    try:
        _write_parquet(problems, source, path)
        entry = {
            "rows": len(problems),
            "dropped": dict(sorted(dropped.items())),
            **provenance,
            "output_sha256": sha256(path),
        }
        _record(name, entry, data_dir)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another --output-dir") from error
    return entry


def load_problems(name: str, data_dir: Path, source: Path | None = None) -> list[Problem]:
    """The problems of a prepared data set, which is prepared first if it is not there."""
    from pyarrow import parquet  # noqa: PLC0415  keeps `deepscaler --help` quick

    source_named(name)
    path = parquet_path(name, data_dir)
    if source is not None or not path.is_file():
        prepare(name, data_dir, source)
    try:
        rows = parquet.read_table(path).to_pylist()
        return [Problem.from_verl_row(row) for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is no prepared data set ({error}); delete it or run: deepscaler data prepare {name}"
        ) from error


def read_problems(source: Source, folder: Path | None) -> tuple[list[Problem], Counter[str], dict[str, Any]]:
    """Problems, reasons for dropped rows, and where they are from."""
    if not source.file:
        from deepscaler.data.arithmetic import SEEDS, generate  # noqa: PLC0415  imported where it is generated

        return generate(source.name), Counter(), {"generator": "reasoning-gym", "seed": SEEDS[source.name]}
    file = source_file(source, folder)
    problems, dropped = clean_rows(read_rows(file, source.name), source)
    place = str(file) if folder else source.url.format(hub="hub:")
    return problems, dropped, {"source": place, "revision": source.revision, "input_sha256": sha256(file)}


def source_named(name: str) -> Source:
    """The source of a name. Raises UserError that lists the valid ones."""
    if name not in SOURCES:
        raise unknown("data set", name, SOURCES)
    return SOURCES[name]


def parquet_path(name: str, data_dir: Path) -> Path:
    """Where a prepared data set lies."""
    return data_dir / f"{name}.parquet"


def _write_parquet(problems: list[Problem], source: Source, path: Path) -> None:
    import pyarrow  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    rows = [problem.to_verl_row(source.split, index) for index, problem in enumerate(problems)]
    with atomic_path(path) as temporary:
        parquet.write_table(pyarrow.Table.from_pylist(rows), temporary)


def _record(name: str, entry: dict[str, Any], data_dir: Path) -> None:
    """Add an entry to the manifest; a lock lets several processes prepare different sets at once."""
    with (data_dir / f".{MANIFEST}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = data_dir / MANIFEST
        entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        write_json(path, dict(sorted({**entries, name: entry}.items())))
