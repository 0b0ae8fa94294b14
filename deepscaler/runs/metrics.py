"""A run's metrics over all its attempts, by the run's step.

attempts/0001/metrics.jsonl  {"step": 40, "data": {"critic/score/mean": 0.41, "timing_s/step": 310.2, ...}}
attempts/0002/metrics.jsonl  {"step": 40, "data": {"val-core/aime/acc/mean@8": 0.29}}      resumed at 40, validated
=> {40: {"critic/score/mean": 0.41, "timing_s/step": 310.2, "val-core/aime/acc/mean@8": 0.29, ...}}
"""

import json
import math
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

Metrics = dict[int, dict[str, float]]
"""What verl logged at each step, the first step first; of attempts that overlap, what the later one logged."""

Series = list[tuple[int, float]]
"""One quantity: (step, value), the first step first."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that verl logs at every step."""

    key: str
    label: str
    percent: bool = False
    """Whether it is a share of one that people read in percent."""


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
}
"""Ours -> verl's. `timing_s/step` counts saving a checkpoint, not validating.

verl counts tokens clipped at either bound of the ratio as one (`clip_fraction`), and those at the dual clip apart. The
kit's losses tell the two bounds apart (verl_plugin/clipping.py).
The kit's sampler counts groups without variance and tokens thrown away: verl counts groups, and only filtered ones.
"""

VALIDATION = {
    "acc": "accuracy",
    "no_box": "no box",
    "no_think_end": "no </think>",
    "truncated": "cut off",
    "undecided": "undecided",
}
"""What our reward function and manager say of each response, and its name for people: shares of a validation."""

RECENT = 10
"""Steps that tell how long the next one takes."""

_VALIDATION_KEY = re.compile(r"val-(?:core|aux)/(?P<dataset>.+)/(?P<name>\w+)/mean@(?P<num_samples>\d+)")


def read_metrics(run: RunFolder) -> Metrics:
    """All attempts in one. Raises UserError for a line, but the last, that is not verl's.

    What an earlier attempt logged beyond the step that a later one resumed from is no part of the run any more.
    """
    merged: Metrics = {}
    limit = int(run.read_manifest()["recipe"].get("max_response_length", 0))
    for attempt in run.attempts():
        record = attempt.read_record()
        resumed, offset = record.get("resumed_step"), record.get("step_offset") or 0
        if resumed is not None:
            merged = {step: values for step, values in merged.items() if step <= resumed}
        for step, values in _read_lines(attempt.metrics_path):
            merged.setdefault(step + offset, {}).update(corrected(values, limit))
    return dict(sorted(merged.items()))


def series(metrics: Metrics, key: str) -> Series:
    """One of verl's keys over the steps that have it."""
    return [(step, values[key]) for step, values in metrics.items() if key in values]


def quantity(metrics: Metrics, name: str) -> Series:
    """One of QUANTITIES over the steps that have it."""
    return series(metrics, QUANTITIES[name].key)


def validation(metrics: Metrics, name: str = "acc") -> dict[str, Series]:
    """One of VALIDATION by data set: its mean over all samples."""
    found: dict[str, Series] = {}
    for step, values in metrics.items():
        largest: dict[str, tuple[int, float]] = {}  # where responses were lost, verl logs a mean for each count
        for key, value in values.items():
            match = _VALIDATION_KEY.fullmatch(key)
            if match and match["name"] == name:
                dataset = match["dataset"]
                largest[dataset] = max(largest.get(dataset, (0, 0.0)), (int(match["num_samples"]), value))
        for dataset, (_, value) in largest.items():
            found.setdefault(dataset, []).append((step, value))
    return found


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
    """The mean of some points; None of none."""
    return sum(value for _, value in points) / len(points) if points else None


def _read_lines(path: Path) -> list[tuple[int, dict[str, float]]]:
    """The whole lines of a file; what follows the last end of line was torn by a kill."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    read = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            read.append((int(entry["step"]), _numbers(entry["data"])))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise UserError(f"line {number} of {path} is none of verl's metrics: {error!r}") from error
    return read


def _numbers(data: dict[str, Any]) -> dict[str, float]:
    """The finite numbers: verl's file has null where a mean was taken of nothing."""
    found = {}
    for key, value in data.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[key] = float(value)
    return found


def corrected(values: dict[str, Any], max_response_length: int) -> dict[str, Any]:
    """Returns a step's metrics with two of verl 0.9.1's numbers as their names say.

    `response_length/clip_ratio` is the share of responses as long as the longest of their batch, not as the limit.
    Where the rollout's log-probabilities are taken over, the entropy comes as `actor/entropy_loss`.
    """
    found = dict(values)
    longest = values.get("response_length/max")
    if "response_length/clip_ratio" in values and longest is not None and longest < max_response_length:
        found["response_length/clip_ratio"] = 0.0
    if "actor/entropy_loss" in values:
        found.setdefault("actor/entropy", values["actor/entropy_loss"])
    return found


class LiveMetrics:
    """Follows `metrics.jsonl` of an attempt; knows how long steps took, in earlier attempts too."""

    def __init__(self, run: RunFolder, attempt: Attempt) -> None:
        self._limit = int(run.read_manifest()["recipe"]["max_response_length"])
        self._path = attempt.metrics_path
        self._offset = attempt.read_record().get("step_offset") or 0
        self._position = 0
        self._last_line = time.monotonic()
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._saves: deque[float] = deque(maxlen=RECENT)
        for earlier in run.attempts()[:-1]:
            if earlier.metrics_path.is_file():
                for line in earlier.metrics_path.read_bytes().splitlines(keepends=True):
                    self._take(line)

    @property
    def has_begun(self) -> bool:
        """Whether the trainer has finished its start, so that a step may be in flight."""
        return self._path.is_file()

    @property
    def seconds_in_step(self) -> float:
        """Since the last step was logged, or since this attempt was started."""
        return time.monotonic() - self._last_line

    @property
    def recent_step_seconds(self) -> list[float]:
        """Of the last steps, with the validation that followed, without saving."""
        return list(self._recent)

    @property
    def save_seconds(self) -> float:
        """Of the slowest recent checkpoint."""
        return max(self._saves, default=0.0)

    def read_new(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Steps (the run's count) that were logged since the last call; a line in the making waits."""
        if not self.has_begun:
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            lines = [line for line in file.readlines() if line.endswith(b"\n")]
        for line in lines:
            self._position += len(line)
            self._last_line = time.monotonic()
            if taken := self._take(line):
                yield taken[0] + self._offset, taken[1]

    def _take(self, line: bytes) -> tuple[int, dict[str, float]] | None:
        try:
            entry = json.loads(line)
        except ValueError:
            return None
        values: dict[str, float] = entry["data"]
        if "timing_s/step" in values:
            save = values.get("timing_s/save_checkpoint", 0.0)
            self._recent.append(values["timing_s/step"] - save + values.get("timing_s/testing", 0.0))
            if save:
                self._saves.append(save)
        return int(entry["step"]), corrected(values, self._limit)
