"""Samples a node's memory; one process of the node adds the samples to a file of the attempt.

attempts/0003/memory/node17.jsonl
    {"time": 1795500000.0, "step": 12, "used": 41200000000, "limit": 64000000000, "place": "machine", "roles": {...}}
"""

import json
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.system.lines import NewLines, whole_lines
from deepscaler.system.memory import level, residents, shared_bytes

FOLDER = "memory"

SHARED = "shared memory"
"""Role of what no process holds alone: Ray's object store and /dev/shm, of the whole machine."""

EVERY = 5.0
"""Seconds between two samples."""


def sample_node(run: RunFolder, attempt: Attempt, path: Path) -> None:
    """Adds a sample of this node to its file."""
    now, roles = level(), residents(run.root) | {SHARED: shared_bytes()}
    line = {"time": time.time(), "step": step_in_flight(attempt), "used": now.used, "limit": now.limit}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line | {"place": now.place, "roles": roles}) + "\n")


def step_in_flight(attempt: Attempt) -> int:
    """Returns the step of the run that is being made: the one after the last that was logged."""
    last, record = 0, dict[str, Any]()
    # Whatever stands there, a node is sampled: only an OSError is forgiven to what is repeated.
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        record = json.loads(attempt.record_path.read_text(encoding="utf-8"))
        last = int(record.get("resumed_step") or 0)
        with attempt.metrics_path.open("rb") as file:
            # Only the end, because every node reads this every five seconds; a step's line is far shorter than 64 KiB.
            file.seek(max(0, attempt.metrics_path.stat().st_size - (1 << 16)))
            # The last line may be half-written; one that the seek has cut is whole at its end, and is never the last.
            lines = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
        last = max(last, int(json.loads(lines[-1])["step"]) + (record.get("step_offset") or 0)) if lines else last
    return last + 1


def claim(attempt: Attempt) -> Path | None:
    """Returns the file of this node's samples; None if another process of the attempt writes it."""
    path = attempt.root / FOLDER / f"{socket.gethostname()}.jsonl"
    path.parent.mkdir(exist_ok=True)
    try:
        # Creating it is the claim: of all processes on this node that try, "x" (O_EXCL) succeeds in one.
        path.open("x").close()
    except FileExistsError:
        return None
    return path


@dataclass(slots=True)
class Series:
    """Holds what the samples of one place under one limit say; those of another place or limit do not compare."""

    first: dict[str, Any]
    last: dict[str, Any]
    peaks: dict[int, int] = field(default_factory=dict)
    """The most that was in use in each step; the step in flight is the last one."""
    own: dict[int, int] = field(default_factory=dict)
    """The most that processes of the run and the machine's shared memory held in each step."""

    def take(self, sample: dict[str, Any]) -> None:
        """Takes the next sample."""
        self.last = sample
        for table, size in ((self.peaks, sample["used"]), (self.own, sum(sample["roles"].values()))):
            table[sample["step"]] = max(table.get(sample["step"], 0), size)


class NodeSamples:
    """Follows a node's file. It grows by thousands of lines a day, so each look reads only what is new."""

    def __init__(self, path: Path) -> None:
        self._lines = NewLines(path)
        # One for each bound, because a sample is of the place with less room at that moment: on a node whose machine is
        # about as full as the control group, that changes from sample to sample.
        self._series: dict[tuple[Any, Any], Series] = {}
        self._newest: dict[Any, Series] = {}

    def read_new(self) -> "NodeSamples":
        """Takes the samples that were added since the last look, and returns itself."""
        with suppress(OSError):
            for line in self._lines.read():
                if sample := _sample(line):
                    series = self._series.setdefault(_bound(sample), Series(sample, sample))
                    series.take(sample)
                    # A control group may be given another limit while a job runs: the old one no longer counts.
                    self._newest[sample.get("place")] = series
        return self

    @property
    def series(self) -> list[Series]:
        """Returns the series of each place, by its limit of now, that a sample of this step or the last one is of."""
        step = max((one.last["step"] for one in self._newest.values()), default=0)
        return [one for one in self._newest.values() if one.last["step"] >= step - 1]


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Returns the samples of a node that are whole, of the place and limit that the last one is of."""
    samples = [sample for line in whole_lines(path) if (sample := _sample(line))]
    return [sample for sample in samples if _bound(sample) == _bound(samples[-1])]


def _sample(line: bytes) -> dict[str, Any]:
    with suppress(ValueError):
        sample = json.loads(line)
        if isinstance(sample, dict) and isinstance(roles := sample.get("roles"), dict):
            numbers = (sample.get("step"), sample.get("used"), sample.get("limit"), *roles.values())
            if all(type(number) is int for number in numbers):
                return sample
    return {}


def _bound(sample: dict[str, Any]) -> tuple[Any, Any]:
    return sample.get("place"), sample["limit"]
