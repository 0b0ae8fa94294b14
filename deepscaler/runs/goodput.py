"""Measures goodput: a run's useful seconds over those that its attempts took, with starts, lost steps and hangs.

Goodput(useful=9000.0, allocated=10_000.0, attempts=3).share  ->  0.9
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from deepscaler.runs.folder import Attempt, RunFolder, seconds_of
from deepscaler.runs.metrics import Metrics

PARTS = ("timing_s/step", "timing_s/testing")
"""Verl's seconds of a step, saving included, and of the validation after it."""


@dataclass(frozen=True, slots=True)
class Goodput:
    """Useful and allocated seconds of a run."""

    useful: float
    """Useful seconds: those of steps that count and of their validations; a repeated step counts once."""
    allocated: float
    """Allocated seconds: those of all attempts, from start to end or last sign of life."""
    attempts: int

    @property
    def share(self) -> float:
        """Returns useful seconds over allocated ones."""
        # Records are to the second, so a run of a few short steps could come out above 1.
        return min(1.0, self.useful / self.allocated) if self.allocated else 0.0


def goodput_of(run: RunFolder, metrics: Metrics) -> Goodput | None:
    """Returns a run's goodput; None before its first step."""
    useful = sum(values.get(part, 0.0) for values in metrics.values() for part in PARTS)
    attempts = run.attempts()
    allocated = sum(map(_seconds, attempts))
    return Goodput(useful, allocated, len(attempts)) if useful and allocated else None


def _seconds(attempt: Attempt) -> float:
    record: Mapping[str, object] = attempt.read_record()
    begin, end = (seconds_of(record.get(name)) for name in ("started", "ended"))
    if begin is None:
        return 0.0
    if end is None:  # it is at work, or was killed
        signs = (attempt.heartbeat_path, attempt.record_path)
        end = max((path.stat().st_mtime for path in signs if path.exists()), default=time.time())
    return max(0.0, end - begin)
