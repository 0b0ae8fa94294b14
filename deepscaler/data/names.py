"""Tells what the name of a data set means: a set of the table, a file of one's own, or a set of the hub.

deepscaler                        a row of SOURCES
sums.jsonl  held_out.parquet      a file
hub:org/name@main:train           a data set of the Hugging Face hub, a revision and a split
"""

from pathlib import Path

from deepscaler.data.sources import SOURCES
from deepscaler.system.errors import unknown

SUFFIXES = (".jsonl", ".json", ".parquet")
HUB = "hub:"


def is_file(name: str) -> bool:
    """Returns whether a name is the path of a file of one's own."""
    return name.endswith(SUFFIXES)


def is_hub(name: str) -> bool:
    """Returns whether a name is a data set of the hub."""
    return name.startswith(HUB)


def check_name(name: str) -> None:
    """Raises UserError for a name that cannot be any data set's."""
    if not (is_file(name) or is_hub(name) or name in SOURCES):
        raise unknown("data set", name, SOURCES, or_else=f"a file ({', '.join(SUFFIXES)}) or {HUB}ORG/NAME")


def absolute(name: str, folder: Path) -> str:
    """Returns a file's name as an absolute path, seen from a folder; other names as they are."""
    return str((folder / name).absolute()) if is_file(name) else name
