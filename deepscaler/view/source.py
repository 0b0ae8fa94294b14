"""Represents one folder on the page: a row for each response, whose text stays in its file until a user opens it.

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
"""Outcomes of grading. A training's validation only has `undecided`; a response without a grade is `ungraded`."""

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
"""Errors that a line raises if it is not a response, whether it is incomplete or hostile."""


class Place(NamedTuple):
    """Locates a line: its file, byte offset and number of bytes."""

    file: Path
    offset: int
    size: int


class Row(NamedTuple):
    """Holds one response without its text."""

    set: int
    """Index of its benchmark, or of its step of a training."""
    problem: int
    sample: int
    verdict: int
    """Index in VERDICTS."""
    cut_off: bool
    length: int
    """Length in the source's unit; -1 if unknown."""
    reward: float
    """Reward; NaN if there is none."""
    place: Place
    answer: str | None
    """The boxed answer that the grader recorded, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Holds all that the page knows about one folder."""

    kind: Literal["evaluation", "training"]
    name: str
    folder: Path
    unit: Literal["tokens", "characters"]
    """Unit of lengths."""
    facts: dict[str, str]
    """Options of the drawing, for people."""
    sets: list[dict[str, Any]]
    """`name`; for a training also `stage`, `kind` (rollouts, validation) and `step` on the chain's axis."""
    problems: list[dict[str, Any]]
    """`id`, `text`, `golds`, and `prompt` if it is more than the text."""
    rows: list[Row]
    """Responses, ordered by set, problem and sample."""
    read: Callable[[bytes], dict[str, Any]]
    """Function that returns the `text` and `numbers` of a line."""
    notes: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    """`budget` for an evaluation, `steps` for a training."""

    def to_json(self) -> dict[str, Any]:
        """Returns everything except texts; columns are little-endian numbers in base64."""
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
        """Yields the details of each row, one after another."""
        with ExitStack() as stack:
            path: Path | None = None
            for row in self.rows if rows is None else rows:
                # Rows are in the order of their sets, so a file is opened once and not for every row.
                if row.place.file != path:
                    stack.close()
                    path = row.place.file
                    file = stack.enter_context(path.open("rb"))
                file.seek(row.place.offset)
                try:
                    found = self.read(file.read(row.place.size))
                except UNREADABLE:
                    found = {"text": "(the file has changed: reload the page)", "numbers": {}}
                yield {**found, "answer": row.answer}


def read_lines(path: Path) -> Iterator[tuple[Place, bytes]]:
    """Yields the complete lines of a file with their places; skips a last line that is incomplete or being written."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield Place(path, offset, len(line)), line
            offset += len(line)


def number(value: Any) -> float:
    """Returns a finite number as a float, and NaN for everything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # isfinite raises OverflowError for an int beyond a float's range; it is among UNREADABLE.
    return float(value) if is_number and math.isfinite(value) else math.nan


def num_bytes(paths: list[Path]) -> int:
    """Returns the total size of some files in bytes."""
    return sum(path.stat().st_size for path in paths if path.is_file())


def unreadable_lines(count: int) -> list[str]:
    """Returns the note about lines that are not responses."""
    return [f"{count:,} lines could not be read and are left out."] if count else []


def as_json(value: Any) -> str:
    """Returns JSON in ASCII, where lone surrogates, which UTF-8 cannot hold, stay escaped."""
    # NaN is not JSON: a browser would refuse the whole page.
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _packed(values: list[Any], kind: str) -> str:
    """Packs a column, clipping numbers that are too large; only a hostile file holds such numbers."""
    column = np.clip(np.array(values, np.int64), -(2**31), 2**31 - 1) if kind == "<i4" else np.array(values)
    return base64.b64encode(column.astype(kind).tobytes()).decode("ascii")
