"""Interprets the name of a data set: a set in the table, a registered set, a file, or a hub set.

deepscaler                        a row of SOURCES
mine                              a set that `deepscaler data prepare sums.jsonl --name mine` registered
sums.jsonl  held_out.parquet      a file
hub:org/name@main:train           a data set of the Hugging Face hub, a revision and a split
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from deepscaler.data.sources import SOURCES
from deepscaler.system.errors import UserError, unknown
from deepscaler.system.paths import data_dir

SUFFIXES = (".jsonl", ".json", ".parquet")
HUB = "hub:"
HUB_FORM = f"{HUB}ORG/NAME@REVISION:SPLIT"
MANIFEST = "manifest.json"

_HUB_NAME = re.compile(
    r"hub:(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?:/(?P<config>[\w.-]+))?(?:@(?P<revision>[\w./-]+))?(?::(?P<split>[\w.-]+))?"
)
_folders: list[Path] = []


def is_file(name: str) -> bool:
    """Returns whether a name is the path of a user's file."""
    return name.endswith(SUFFIXES) and not is_hub(name)


def is_hub(name: str) -> bool:
    """Returns whether a name refers to a hub data set."""
    return name.startswith(HUB)


def is_own(name: str) -> bool:
    """Returns whether a name itself says where its data comes from: a file or a hub set."""
    return is_file(name) or is_hub(name)


def parse_hub(name: str) -> tuple[str, str, str, str]:
    """Returns the repository, configuration, revision and split of a hub set; empty if not given.

    Raises UserError for an invalid name.
    """
    found = _HUB_NAME.fullmatch(name)
    # The parts become paths in the hub's cache.
    if not found or ".." in name:
        raise UserError(f"invalid data set {name!r}: expected {HUB_FORM} (revision and split are optional)")
    return found["repository"], found["config"] or "", found["revision"] or "main", found["split"] or ""


def look_in(*folders: Path | None) -> None:
    """Makes the registered sets in these folders of prepared data known by name in this process.

    A command calls this before it reads names, with its --data-dir and the folders of a run's own copies.
    """
    _folders.extend(folder for folder in folders if folder and folder not in _folders)


def registered(*folders: Path) -> dict[str, Path]:
    """Returns every registered set and the folder that holds it; an unreadable manifest registers none."""
    found: dict[str, Path] = {}
    # In this order: a run's own copies come before what was registered since.
    for folder in (*folders, *_folders, data_dir()):
        try:
            entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            names = [name for name, entry in entries.items() if entry.get("registered")]
        except (OSError, ValueError, RecursionError, AttributeError):
            continue
        # The first folder that has a name keeps it.
        found = dict.fromkeys(names, folder) | found
    return found


class _Known:
    """Lists every valid name for shell completion; each iteration reads the manifests again."""

    def __iter__(self) -> Iterator[str]:
        yield from SOURCES
        yield from registered()


KNOWN = _Known()


def check_name(name: str, *folders: Path) -> None:
    """Raises UserError for a name that refers to no data set."""
    if is_hub(name):
        parse_hub(name)
    elif not is_file(name) and name not in SOURCES and name not in (mine := registered(*folders)):
        or_else = f"a file ({', '.join(SUFFIXES)}) or {HUB}ORG/NAME"
        raise unknown("data set", name, [*SOURCES, *mine], or_else=or_else)


def check_new_name(name: str) -> None:
    """Raises UserError for a name under which no set can be registered."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,63}", name, re.ASCII) or name.endswith(SUFFIXES):
        raise UserError(f"invalid value {name!r} for --name: expected letters, digits, . _ or -, and no file extension")
    if name in SOURCES:
        raise UserError(f"--name {name} is a data set of the kit: choose another name")


def label(name: str) -> str:
    """Returns the short name of a set for files, metrics and reports; a file's is its own name without the extension.

    A file with the name of one of the kit's sets keeps its extension.
    """
    if is_hub(name):
        repository, config, _, split = parse_hub(name)
        return "-".join(part for part in (*repository.split("/"), config, split) if part)
    if not is_file(name):
        return name
    path = Path(name)
    # The label becomes a file's name and part of verl's metric names, where / separates.
    stem = re.sub(r"[^\w.-]+", "-", path.stem).strip("-.") or "data"
    return stem if stem not in SOURCES else f"{stem}-{path.suffix[1:]}"


def labels(names: tuple[str, ...] | list[str]) -> dict[str, str]:
    """Returns the names by their labels. Raises UserError if two have the same label."""
    found: dict[str, str] = {}
    for name in names:
        if found.setdefault(label(name), name) != name:
            raise UserError(f"{found[label(name)]} and {name} are both called {label(name)!r}: rename one of them")
    return found


def absolute(name: str, folder: Path) -> str:
    """Returns a file's name as an absolute path, relative to a folder; other names unchanged."""
    return str((folder / name).absolute()) if is_file(name) else name
