"""Reads a run's metrics over all its attempts, by the run's step.

attempts/0001/metrics.jsonl  {"step": 40, "data": {"critic/score/mean": 0.41, "timing_s/step": 310.2, ...}}
attempts/0001/saved.json     the last saved step, as verl's log has it unless a kill came between the two
attempts/0002/metrics.jsonl  {"step": 40, "data": {"val-core/aime/acc/mean@8": 0.29}}      resumed at 40, validated
=> {40: {"critic/score/mean": 0.41, "timing_s/step": 310.2, "val-core/aime/acc/mean@8": 0.29, ...}}
"""

import hashlib
import json
import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepscaler.rewards.parts import PARTS
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.system.errors import UserError
from deepscaler.system.lines import NewLines, whole_lines

Metrics = dict[int, dict[str, float]]
"""Values that verl logged at each step, in order; where attempts overlap, those of the later one."""

Series = list[tuple[int, float]]
"""One quantity: (step, value), the first step first."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that verl logs at every step."""

    key: str
    label: str
    percent: bool = False
    """True for a share of one that people read in percent."""


REWARD = "reward/"
"""Begins the name of what the reward function says in training: `reward/overlong/mean`, logged by the kit's sampler."""

QUANTITIES = {
    "reward": Quantity("critic/score/mean", "mean reward"),
    **{f"{part}_part": Quantity(f"{REWARD}{part}/mean", f"{part} part of the reward") for part in PARTS},
    "undecided": Quantity(f"{REWARD}undecided/mean", "undecided rewards, %", percent=True),
    "response_length": Quantity("response_length/mean", "response tokens"),
    "cut_off": Quantity("response_length/clip_ratio", "cut off, %", percent=True),
    "prompt_length": Quantity("prompt_length/mean", "prompt tokens"),
    "entropy": Quantity("actor/entropy", "entropy, nats"),
    "kl": Quantity("actor/kl_loss", "KL to reference"),
    "mismatch": Quantity("rollout_corr/kl", "KL rollout to trainer"),
    "grad_norm": Quantity("actor/grad_norm", "gradient norm"),
    "clip_fraction": Quantity("actor/pg_clipfrac", "PPO clipped, %", percent=True),
    "clip_high_fraction": Quantity("actor/pg_clipfrac_high", "clipped at the upper bound, %", percent=True),
    "clip_low_fraction": Quantity("actor/pg_clipfrac_low", "clipped at the lower bound, %", percent=True),
    "dual_clip_fraction": Quantity("actor/pg_clipfrac_lower", "dual-clipped, %", percent=True),
    "correction_cut": Quantity("rollout_corr/rollout_is_ratio_fraction_high", "weights cut, %", percent=True),
    "zero_variance": Quantity(
        "training/filter_groups/zero_variance_groups", "groups in the batch with one reward, %", percent=True
    ),
    "discarded_tokens": Quantity("training/filter_groups/discarded_tokens", "response tokens thrown away"),
    "staleness": Quantity("training/off_policy/trajectory_staleness/mean", "age of responses, updates"),
    "step_seconds": Quantity("timing_s/step", "seconds a step"),
    "generation_seconds": Quantity("timing_s/gen", "seconds of rollout"),
    "checkpoint_seconds": Quantity("timing_s/save_checkpoint", "seconds to save"),
    "validation_seconds": Quantity("timing_s/testing", "seconds to validate"),
    "throughput": Quantity("perf/throughput", "tokens/s per GPU"),
    "not_finite": Quantity("metrics/not_finite", "metrics that are not finite"),
}
"""Ours -> verl's. `timing_s/step` counts saving a checkpoint, not validating.

verl counts tokens clipped at either bound of the ratio as one (`clip_fraction`), and those at the dual clip apart. The
kit's losses distinguish the two bounds (verl_plugin/clipping.py).
The kit's sampler counts groups without variance and tokens thrown away: verl counts groups, and only filtered ones.
`metrics/not_finite` is counted here, of the steps that have any.
"""

NOW_AND_THEN = ("checkpoint_seconds", "validation_seconds")
"""Those that most steps lack."""

_OF_A_STEP = frozenset(about.key for name, about in QUANTITIES.items() if name not in NOW_AND_THEN)
"""Keys that only a step of training has; before the first one verl logs a validation alone."""

LARGEST = 3.4e38
"""The largest float32. A larger number cannot come from a tensor, and its square or sum would be infinite."""

VALIDATION = {
    "acc": "accuracy",
    "no_box": "no box",
    "no_think_end": "no </think>",
    "truncated": "cut off",
    "undecided": "undecided",
}
"""Shares of a validation by the kit's reward function and manager, with their names for people."""

RECENT = 10
"""Number of recent steps that predict how long the next one takes."""

_VALIDATION_KEY = re.compile(r"val-(?:core|aux)/(?P<dataset>.+)/(?P<name>\w+)/mean@(?P<num_samples>\d+)")


def read_metrics(run: RunFolder) -> Metrics:
    """Returns the metrics of all attempts as one. Raises UserError for a line that is not verl's, except the last one.

    What an earlier attempt logged beyond the step that a later one resumed from no longer belongs to the run.
    """
    merged: Metrics = {}
    # The run's own recipe: what verl's padded width stands for cannot be seen in the numbers.
    limit = int(run.read_manifest()["recipe"].get("max_response_length", 0))
    for attempt in run.attempts():
        record = attempt.read_record()
        resumed, offset = record.get("resumed_step"), record.get("step_offset") or 0
        if resumed is not None:
            # Steps that were never saved were trained again: their old numbers belong to weights that are gone.
            merged = {step: values for step, values in merged.items() if step <= resumed}
        # First the step that was saved last: a kill may have taken it from verl's log, which otherwise says more of it.
        for step, values in [*read_lines(attempt.saved_path), *read_lines(attempt.metrics_path)]:
            # Updated, not replaced: an attempt that resumes logs a validation under a step that was trained before.
            merged.setdefault(step + offset, {}).update(corrected(values, limit))
    return dict(sorted(merged.items()))


def is_of_the_machine(key: str) -> bool:
    """Returns whether one of verl's keys is a time, a speed or an amount of memory, which no seed repeats."""
    return key.startswith("timing_") or "perf/" in key


def digest(metrics: Metrics) -> str:
    """Returns a hash of all that a seed decides, to the last digit: of two runs that are the same, the same one."""
    kept = {
        step: {key: value for key, value in sorted(values.items()) if not is_of_the_machine(key)}
        for step, values in sorted(metrics.items())
    }
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()


def series(metrics: Metrics, key: str) -> Series:
    """Returns one of verl's keys over the steps that have it."""
    return [(step, values[key]) for step, values in metrics.items() if key in values]


def steps_of(metrics: Metrics) -> list[int]:
    """Returns the steps of training that were logged, whether or not their numbers are finite, in order."""
    return [step for step, values in metrics.items() if values.keys() & _OF_A_STEP]


def at_last_step(metrics: Metrics) -> dict[str, float]:
    """Returns those of QUANTITIES that the last step has: what an earlier step had last is not how the run is now."""
    steps = steps_of(metrics)
    values = metrics[steps[-1]] if steps else {}
    return {name: values[about.key] for name, about in QUANTITIES.items() if about.key in values}


def quantity(metrics: Metrics, name: str) -> Series:
    """Returns one of QUANTITIES over the steps that have it."""
    return series(metrics, QUANTITIES[name].key)


def validation(metrics: Metrics, name: str = "acc") -> dict[str, Series]:
    """Returns one of VALIDATION by data set: its mean over all samples."""
    found: dict[str, Series] = {}
    for step, values in metrics.items():
        largest: dict[str, tuple[int, float]] = {}  # where responses were lost, verl logs a mean for each count
        for key, value in values.items():
            # verl puts the accuracy under val-core, the rest under val-aux; a data set's name may hold slashes.
            match = _VALIDATION_KEY.fullmatch(key)
            if match and match["name"] == name:
                dataset = match["dataset"]
                largest[dataset] = max(largest.get(dataset, (0, 0.0)), (int(match["num_samples"]), value))
        for dataset, (_, value) in largest.items():
            found.setdefault(dataset, []).append((step, value))
    return found


def has_validation(metrics: Metrics, step: int) -> bool:
    """Returns whether a validation was logged at a step, whatever it measured."""
    return any(key.startswith("val-") for key in metrics.get(step, {}))


def validation_means(metrics: Metrics) -> dict[int, float]:
    """Returns the accuracy of each validation over all its data sets, each counted once, by step."""
    found: dict[int, list[float]] = {}
    for points in validation(metrics).values():
        for step, value in points:
            found.setdefault(step, []).append(value)
    return {step: sum(values) / len(values) for step, values in found.items()}


def parts(metrics: Metrics) -> dict[str, Series]:
    """Returns the mean of each part of the reward in training, before its weight; of a recipe with several parts."""
    return {part: points for part in PARTS if (points := quantity(metrics, f"{part}_part"))}


def mean(points: Series) -> float | None:
    """Returns the mean of some points; None if there are none."""
    return sum(value for _, value in points) / len(points) if points else None


def read_lines(path: Path) -> list[tuple[int, dict[str, float]]]:
    """Returns the whole lines of a file; a kill may have torn what follows the last end of line."""
    read = []
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            read.append(_parsed(line))
        except ValueError as error:
            raise UserError(
                f"line {number} of {path} does not hold metrics of verl ({error}); remove that line"
            ) from error
    return read


def _parsed(line: bytes) -> tuple[int, dict[str, float]]:
    """Returns a line's step and numbers. Raises ValueError for a line that is not verl's."""
    try:
        entry = json.loads(line)
        return int(entry["step"]), _numbers(entry["data"])
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(repr(error)) from error


def _numbers(data: dict[str, Any]) -> dict[str, float]:
    """Returns the finite numbers, and how many that the kit watches are not: verl writes null for NaN and infinity."""
    found, lost = dict[str, float](), 0
    for key, value in data.items():
        if isinstance(value, bool) or not (value is None or isinstance(value, int | float)):
            continue
        # One NaN would spoil every mean, and reports would not be JSON. Comparing, since an integer may be no float.
        if value is not None and abs(value) <= LARGEST:
            found[key] = float(value)
        elif key in _OF_A_STEP:
            # Not any key: a correlation of numbers that are all alike is NaN in a healthy run, and so is the loss of a
            # batch whose responses were all cut off and masked.
            lost += 1
    return found | {QUANTITIES["not_finite"].key: float(lost)} if lost else found


def corrected(values: dict[str, Any], max_response_length: int) -> dict[str, Any]:
    """Returns a step's metrics with two of verl 0.9.1's numbers as their names say.

    `response_length/clip_ratio` is the share of responses as long as the longest of their batch, not as the limit.
    Where the rollout's log-probabilities are taken over, the entropy comes as `actor/entropy_loss`.
    """
    found = dict(values)
    longest = values.get("response_length/max")
    # verl 0.9.1 compares with the width of the padded batch (trainer/ppo/metric_utils.py), so the longest response
    # always counts as cut off.
    if "response_length/clip_ratio" in values and longest is not None and longest < max_response_length:
        found["response_length/clip_ratio"] = 0.0
    # In its bypass mode verl 0.9.1 skips the pass that logs `actor/entropy` (trainer/ppo/v1/trainer_base.py), and the
    # update logs the same under this name (workers/utils/losses.py).
    if "actor/entropy_loss" in values:
        found.setdefault("actor/entropy", values["actor/entropy_loss"])
    return found


class LiveMetrics:
    """Follows `metrics.jsonl` of an attempt; knows how long steps took, in earlier attempts too."""

    def __init__(self, run: RunFolder, attempt: Attempt) -> None:
        self._limit = int(run.read_manifest()["recipe"]["max_response_length"])
        self._path = attempt.metrics_path
        self._offset = attempt.read_record().get("step_offset") or 0
        self._lines = NewLines(self._path)
        self._last_line = time.monotonic()
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._saves: deque[float] = deque(maxlen=RECENT)
        for earlier in run.attempts()[:-1]:
            if earlier.metrics_path.is_file():
                # Earlier attempts count, since right after a resume the deadline must know how long a step takes.
                for line in earlier.metrics_path.read_bytes().splitlines(keepends=True):
                    self._take(line)

    @property
    def has_begun(self) -> bool:
        """Returns whether the trainer has finished its start, so a step may be in flight."""
        return self._path.is_file()

    @property
    def seconds_in_step(self) -> float:
        """Returns the seconds since the last step was logged, or since this attempt was started."""
        return time.monotonic() - self._last_line

    @property
    def recent_step_seconds(self) -> list[float]:
        """Returns the seconds of the last steps, with the validation that followed, without saving."""
        return list(self._recent)

    @property
    def save_seconds(self) -> float:
        """Returns the seconds of the slowest recent checkpoint."""
        return max(self._saves, default=0.0)

    def read_new(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Returns the steps (the run's count) logged since the last call; a half-written line waits."""
        if not self.has_begun:
            return
        for line in self._lines.read():
            self._last_line = time.monotonic()
            if taken := self._take(line):
                yield taken[0] + self._offset, taken[1]

    def _take(self, line: bytes) -> tuple[int, dict[str, float]] | None:
        # A line that cannot be read is left to those who report it: the supervisor looks on.
        try:
            step, values = _parsed(line)
        except ValueError:
            return None
        if "timing_s/step" in values:
            save = values.get("timing_s/save_checkpoint", 0.0)
            # verl's step includes saving, not the validation that follows; the next step may have either.
            self._recent.append(values["timing_s/step"] - save + values.get("timing_s/testing", 0.0))
            if save:
                self._saves.append(save)
        return step, corrected(values, self._limit)
