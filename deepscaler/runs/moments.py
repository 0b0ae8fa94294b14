"""Records when each part of a start is ready; the process that knows it writes it down.

attempts/0003/moments.jsonl   {"moment": "verl imported", "time": 1795824023.4}

The first time of each name counts: many processes on many machines load weights.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from deepscaler.runs.folder import Attempt, own_attempt, seconds_of

BEGIN = "command began"
"""The first moment: this process's own start, before it imported anything."""

INPUTS_READY = "inputs ready"
"""The moment at which the kit has done its part, and starts verl."""

PHASES = {
    INPUTS_READY: "the kit: imports, hashes, checks of data and model",
    "verl imported": "verl's imports",
    "Ray up": "Ray, and its first process",
    "weights begin": "verl's processes: imports, the data, queues",
    "rollout begins": "weights and the engine, with what it compiles",
    "begun": "first validation, or none",
    "first_step": "first step: rollout, reward, update",
}
"""Moments in order, and what ends with each. The last two stand in the attempt's record."""


def note(name: str) -> None:
    """Writes down that something is ready in the attempt that this process belongs to, if any; it never fails."""
    with suppress(OSError, ValueError):
        if own := own_attempt():
            note_in(own[1], name)


def note_in(attempt: Attempt, name: str, when: float | None = None) -> None:
    """Writes down that something is ready in an attempt, now or at Unix seconds. Raises OSError."""
    # Unix seconds of this machine's clock: with clocks apart a part may come out negative, which counts as 0.
    line = json.dumps({"moment": name, "time": round(time.time() if when is None else when, 2)})
    with (attempt.root / "moments.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def start_phases(attempt: Attempt) -> list[tuple[str, float]]:
    """Returns the parts of an attempt's way to its first step with their seconds, as far as it has come.

    A part that was not written down counts to the one after it.
    """
    moments = {**read_moments(attempt), **_recorded(attempt.read_record())}
    if BEGIN not in moments:
        return []
    before, found = moments[BEGIN], []
    for name, phase in PHASES.items():
        if name in moments:
            found.append((phase, max(0.0, moments[name] - before)))
            before = max(before, moments[name])
    return found


def read_moments(attempt: Attempt) -> dict[str, float]:
    """Returns the moments that an attempt's processes have written down, in Unix seconds."""
    found: dict[str, float] = {}
    with suppress(OSError):
        for line in (attempt.root / "moments.jsonl").read_bytes().splitlines():
            with suppress(ValueError, KeyError, TypeError):  # one that is torn
                entry = json.loads(line)
                found.setdefault(str(entry["moment"]), float(entry["time"]))
    return found


def _recorded(record: Mapping[str, Any]) -> dict[str, float]:
    """Returns the moments of the attempt's record, to the second."""
    found = {name: seconds_of(record.get(name)) for name in ("begun", "first_step")}
    return {name: seconds for name, seconds in found.items() if seconds is not None}
