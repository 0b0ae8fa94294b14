"""Names the phases of a training in flight, and bounds how long each may make no progress.

attempts/0003/phase.json  {"beat": 812, "phase": "generate", "entered": 61, "progress": 37, "step": 12, "seconds": 41.2,
                           "told": "37 of 64 prompts are finished", "ray": "10.0.0.1:6379"}

The trainer writes it every BEAT seconds. verl's own timers name the phases, and the same timers, logged with each step,
say how long each usually takes. The first step of an attempt compiles, so it bounds a phase of later steps only until
one of them has reached that phase.
"""

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import median

from deepscaler.runs.beats import read_stalls
from deepscaler.runs.folder import Attempt, seconds_of
from deepscaler.runs.metrics import read_lines
from deepscaler.runs.moments import INPUTS_READY, read_moments

BEAT = 2.0
"""Seconds between two signs of life of a process of verl."""

START, GENERATE, VALIDATE, SAVE, STEP = "start", "generate", "validate", "save", "step"

TIMERS = {
    "gen": GENERATE,
    "reward": "reward",
    # The names that verl 0.9.1's trainer/ppo/v1 gives to `marked_timer`; each of its modes uses some of them.
    **dict.fromkeys(("old_log_prob", "ref", "values"), "log-probabilities"),
    **dict.fromkeys(("adv", "update_critic", "update_actor"), "update"),
    **dict.fromkeys(("update_weights", "switch_to_trainer", "switch_to_rollout"), "weight sync"),
    "switch_wait": GENERATE,
    "save_checkpoint": SAVE,
    "testing": VALIDATE,
    STEP: STEP,
}
"""verl's timers -> phases; what a step does between them is of the phase `step`."""

SLACK = 3.0
"""Factor by which a phase may stall longer than ever before."""

FLOOR = 60.0
"""Seconds without progress that are always allowed."""

CEILING = 1800.0
"""Seconds without progress that are allowed in a phase that was never seen: a cold start compiles and loads."""

COLD = 5.0
"""Multiple of FLOOR that is always allowed in the start and the first step of an attempt, which compile and load."""

RECENT = 20
"""Number of steps, and of starts, that define what is usual."""

LAG = 20
"""Steps, of a tenth of a second at least, that a trainer may have begun since it last said where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Phase of a training, as its trainer last wrote it."""

    beat: int = 0
    """Grows with every sign of life."""
    phase: str = START
    entered: int = 0
    """Number of phases so far."""
    progress: int = 0
    """Grows with every response and every prompt that is finished."""
    step: int = 0
    """The run's step in flight; 0 before the first."""
    seconds: float = 0.0
    """Seconds in this phase so far."""
    told: str = ""
    """Words for what the phase waits for; empty if only its stack shows that."""
    ray: str = ""
    """Address of Ray's GCS."""

    @property
    def key(self) -> tuple[object, ...]:
        """Returns the values that change with progress."""
        return self.phase, self.entered, self.progress, self.step


def phase_path(attempt: Attempt) -> Path:
    """Returns the file that says where the training is."""
    return attempt.root / "phase.json"


def read_moment(attempt: Attempt) -> Moment:
    """Returns where the training is; the beginning for one that has not said anything, or is writing right now."""
    with suppress(OSError, ValueError, TypeError):
        values = json.loads(phase_path(attempt).read_text(encoding="utf-8"))
        # A file of another version of the kit may lack fields, or have more.
        return Moment(**{one.name: values[one.name] for one in fields(Moment) if one.name in values})
    return Moment()


@dataclass(slots=True)
class Usual:
    """Seconds that each phase took in each of the last steps."""

    first: dict[str, list[float]] = field(default_factory=dict)
    """Seconds in the start and the first step of each of the last attempts."""
    later: dict[str, list[float]] = field(default_factory=dict)
    num_steps: int = 0
    """Steps of the newest attempt that were logged."""
    stalls: list[tuple[int, float]] = field(default_factory=list)
    """Step that the trainer had last named, and seconds, of each stall whose step was not logged yet."""

    def begin(self, start_seconds: float | None = None) -> None:
        """Begins with another attempt; verl took so long until the first step of the one before could begin."""
        if start_seconds is not None:
            self._learn(self.first, START, start_seconds)
        self.num_steps, self.stalls = 0, []

    def stall(self, phase: str, step: int, seconds: float) -> None:
        """Takes a stall that was noticed after so many seconds in a phase of a step."""
        if phase != START:  # no step is longer by it, and a start's seconds are given to `begin` alone
            self.stalls.append((step, seconds))

    def add(self, values: Mapping[str, float], step: int = 0) -> None:
        """Takes what verl has logged of a step; one that stalled teaches nothing about what is usual."""
        seconds: dict[str, float] = {}
        for timer, phase in TIMERS.items():
            if (value := values.get(f"timing_s/{timer}")) is not None:
                seconds[phase] = seconds.get(phase, 0.0) + value
        stalled = self._take_stall(step, seconds.get(STEP, 0.0) + seconds.get(VALIDATE, 0.0))
        # verl logs the validation before the first step in a line of its own, which must not pass for that step.
        if STEP not in seconds:  # a validation before the first step
            return
        table = self.later if self.num_steps else self.first
        for phase, value in () if stalled else seconds.items():
            self._learn(table, phase, value)
        self.num_steps += 1

    @staticmethod
    def _learn(table: dict[str, list[float]], phase: str, seconds: float) -> None:
        # A new list, not an append: the watcher's thread reads this one meanwhile.
        table[phase] = [*table.get(phase, [])[1 - RECENT :], seconds]

    def _take_stall(self, step: int, seconds: float) -> bool:
        """Removes the stall that made a step take so long, and returns whether there was one.

        The trainer says every two seconds where it is, so the step that stalled may be a later one than it had named.
        """
        hit = next((one for one in self.stalls if one[0] <= step <= one[0] + LAG and seconds >= one[1]), None)
        if hit:
            self.stalls.remove(hit)
        return hit is not None

    def seconds(self, phase: str) -> float | None:
        """Returns how long a phase usually takes; None for one that was not seen."""
        values = self.later.get(phase) or self.first.get(phase)
        return median(values) if values else None

    def bound(self, phase: str, floor: float = FLOOR, ceiling: float = CEILING) -> float:
        """Returns for how many seconds a phase may stall.

        Responses come when they are ready: an asynchronous rollout hands over several batches at once, then waits for
        a long one, so generating may stall as long as a whole step takes.
        """
        if self.num_steps and self.later.get(phase):
            tables = [self.later]
        else:
            # The first step of this attempt, or a phase that no later step has reached. It may compile, and it may be
            # as long as later steps have become since the last first step.
            tables, floor = [self.first, self.later], COLD * floor
        values = [value for table in tables for value in table.get(phase, [])]
        if not values:
            return max(floor, ceiling)
        # By the longest, not the median: responses grow in a training, and a false alarm costs a restart.
        longest = max(values)
        if phase in (GENERATE, VALIDATE):
            longest = max([longest, *(value for table in tables for value in table.get(STEP, []))])
        if phase == START:
            # A run's first start loads no checkpoint and every other one does, which takes about as long as to save it.
            longest += max((value for table in tables for value in table.get(SAVE, [])), default=0.0)
        return max(floor, SLACK * longest)


def usual_of(attempts: Iterable[Attempt]) -> Usual:
    """Returns what some attempts at a run say of its phases, the newest last. Raises UserError for damaged files."""
    usual = Usual()
    for attempt in attempts:
        stalls = list(read_stalls(attempt))
        # A start that stalled and recovered is not what is usual.
        usual.begin(None if any(phase == START for phase, *_ in stalls) else _start_seconds(attempt))
        for stall in stalls:
            usual.stall(*stall)
        offset = attempt.read_record().get("step_offset") or 0
        for step, values in read_lines(attempt.metrics_path):
            usual.add(values, step + offset)
    return usual


def _start_seconds(attempt: Attempt) -> float | None:
    """Returns for how long verl started: the kit's own work before it, such as to reshard, is nobody's silence."""
    record = attempt.read_record()
    begun, started = (seconds_of(record.get(name)) for name in ("begun", "started"))
    ready = read_moments(attempt).get(INPUTS_READY, started)  # missing in attempts of an older kit
    if begun is None or ready is None or begun < ready:  # a clock that was set back meanwhile
        return None
    return begun - ready


def seconds_since(path: Path) -> float:
    """Returns the age of a file's content by the clocks of this machine and of the file's."""
    with suppress(OSError):
        return max(0.0, time.time() - path.stat().st_mtime)
    return 0.0
