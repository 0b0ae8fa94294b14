"""One folder as the page sees it: a row for each response, whose text stays in its file until somebody opens it.

Source(name="deepscaler-1.5b", kind="evaluation", sets=[{"name": "AIME 2024"}], problems=[{"id": ..., "text": ...}],
       rows=[Row(set=0, problem=3, sample=0, verdict=0, cut_off=False, length=8123, ...), ...])
"""

import base64
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

VERDICTS = ("correct", "wrong", "no_box", "no_think_end", "timeout", "worker_died", "undecided", "ungraded")
"""How a grading ended; a training's validation only says `undecided`, and what has no grade yet is `ungraded`."""

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
"""What a line that is no response raises, be it torn or hostile."""


class Place(NamedTuple):
    """Where a line is: a byte offset in a file, and its number of bytes."""

    file: Path
    offset: int
    size: int


class Row(NamedTuple):
    """One response without its text."""

    set: int
    """Index of its benchmark, or of its step of a training."""
    problem: int
    sample: int
    verdict: int
    """Index in VERDICTS."""
    cut_off: bool
    length: int
    """In the source's unit; -1 where nobody knows."""
    reward: float
    """NaN where there is none."""
    place: Place
    answer: str | None
    """What was boxed, as far as a grader has said it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """All that the page knows of one folder."""

    kind: Literal["evaluation", "training"]
    name: str
    folder: Path
    unit: Literal["tokens", "characters"]
    """Of lengths."""
    facts: dict[str, str]
    """What was drawn, and how: for people."""
    sets: list[dict[str, Any]]
    """`name`, and of a training `stage`, `kind` (rollouts, validation) and `step` on the chain's axis."""
    problems: list[dict[str, Any]]
    """`id`, `text`, `golds`, and `prompt` where it is more than the text."""
    rows: list[Row]
    """By set, problem and sample."""
    read: Callable[[bytes], dict[str, Any]]
    """Returns `text` and `numbers` of a line."""
    notes: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    """`budget` of an evaluation, `steps` of a training."""

    def to_json(self) -> dict[str, Any]:
        """Returns everything but texts; columns are base64 of little-endian numbers."""
        columns = {
            "set": _packed([row.set for row in self.rows], "<i4"),
            "problem": _packed([row.problem for row in self.rows], "<i4"),
            "sample": _packed([row.sample for row in self.rows], "<i4"),
            "verdict": _packed([row.verdict for row in self.rows], "u1"),
            "cutOff": _packed([row.cut_off for row in self.rows], "u1"),
            "length": _packed([row.length for row in self.rows], "<i4"),
            "reward": _packed([row.reward for row in self.rows], "<f4"),
        }
        return {
            "kind": self.kind,
            "name": self.name,
            "folder": str(self.folder),
            "unit": self.unit,
            "facts": self.facts,
            "sets": self.sets,
            "problems": self.problems,
            "notes": self.notes,
            "numRows": len(self.rows),
            "columns": columns,
            **self.more,
        }

    def details(self, number: int) -> dict[str, Any]:
        """Reads one response from its file: text, numbers, answer."""
        return next(self.all_details([self.rows[number]]))

    def all_details(self, rows: Sequence[Row] | None = None) -> Iterator[dict[str, Any]]:
        """Yields what `details` returns of each row, one after another."""
        with ExitStack() as stack:
            path: Path | None = None
            for row in self.rows if rows is None else rows:
                if row.place.file != path:
                    stack.close()
                    path = row.place.file
                    file = stack.enter_context(path.open("rb"))
                file.seek(row.place.offset)
                try:
                    found = self.read(file.read(row.place.size))
                except UNREADABLE:
                    found = {"text": "(the file has changed: load the page again)", "numbers": {}}
                yield {**found, "answer": row.answer}


def read_lines(path: Path) -> Iterator[tuple[Place, bytes]]:
    """Yields the whole lines of a file with their places; what a kill tore, or somebody is writing, is left out."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield Place(path, offset, len(line)), line
            offset += len(line)


def number(value: Any) -> float:
    """Returns a finite number as it is, and NaN for everything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else math.nan


def num_bytes(paths: list[Path]) -> int:
    """Returns the size of some files."""
    return sum(path.stat().st_size for path in paths if path.is_file())


def unreadable_lines(count: int) -> list[str]:
    """Returns the note about lines that are no responses."""
    return [f"{count:,} lines could not be read and are left out."] if count else []


def as_json(value: Any) -> str:
    """Returns JSON in ASCII: half characters, which no UTF-8 file can hold, stay escaped."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _packed(values: list[Any], kind: str) -> str:
    """Packs a column; numbers too large for it, which only a hostile file holds, become the largest."""
    column = np.clip(np.array(values, np.int64), -(2**31), 2**31 - 1) if kind == "<i4" else np.array(values)
    return base64.b64encode(column.astype(kind).tobytes()).decode("ascii")
