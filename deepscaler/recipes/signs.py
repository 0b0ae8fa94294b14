"""Lists the signs of a sick training: which number shows trouble, from which value on, and what to do about it.

SIGNS["cut_off"].measure([0.2, 0.97, 1.0, 1.0, 1.0, 1.0])  => 0.994, at or above its threshold of 0.95

`status`, reports, W&B alerts and the rules for Prometheus take names, sentences and advice from this table. The kit
decides, not PromQL: the signs are about steps and a recipe's thresholds, and Prometheus knows scrapes. Its rules read
one gauge for each sign.
"""

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from deepscaler.system.errors import UserError, unknown
from deepscaler.system.option import shown_value

LAST = 5
"""Steps over which a number has to be sick: one batch tells little, and a sign should come before an hour is lost."""

BEFORE = 20
"""Most steps before these that define what is usual."""

Measure = Callable[[list[float]], float | None]
"""Returns the number that is compared, from a metric's values up to some step; None after too few of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """One number of a sick run."""

    name: str
    title: str
    """A few words that follow the name of a run."""
    quantity: str
    """The metric, one of `deepscaler.runs.metrics.QUANTITIES`."""
    measure: Measure
    threshold: float
    is_low: bool = False
    """True if numbers at or below the threshold are sick, instead of those at or above."""
    says: str
    """A sentence with the number as `{value}`."""
    advice: str
    measured: str
    """Description of the number that is compared."""
    reason: str
    """Why this threshold."""

    def is_seen(self, value: float, threshold: float) -> bool:
        """Returns whether a number is sick."""
        return value <= threshold if self.is_low else value >= threshold


def _mean(values: Collection[float]) -> float:
    """Returns the mean, of huge numbers too: `fmean` raises OverflowError if their sum is none."""
    return sum(value / len(values) for value in values)


def _last(values: list[float]) -> float | None:
    return values[-1] if values else None


def _recent(values: list[float]) -> float | None:
    return _mean(values[-LAST:]) if len(values) >= LAST else None


def _largest(values: list[float]) -> float | None:
    return max(map(abs, values[-LAST:])) if len(values) >= LAST else None


def _spread(values: list[float]) -> float | None:
    """Returns the largest difference; None if all are 0, which is a sign of its own."""
    last = values[-LAST:]
    return max(last) - min(last) if len(last) == LAST and any(last) else None


def _rise(values: list[float]) -> float | None:
    """Returns how far the last steps' mean is above that of the run's first steps."""
    # Not above the steps right before: those rise as well, so a steady rise would never be seen.
    return _mean(values[-LAST:]) - _mean(values[:LAST]) if len(values) >= 2 * LAST else None


def _drift(values: list[float], floor: float) -> float | None:
    """Returns the last steps' mean size in multiples of that of the run's first steps."""
    if len(values) < 2 * LAST:
        return None
    # The floor keeps a ratio of two tiny numbers from looking like a rise.
    return _mean([*map(abs, values[-LAST:])]) / max(_mean([*map(abs, values[:LAST])]), floor)


def _slowness(values: list[float], floor: float) -> float | None:
    """Returns the last value in multiples of the median before it."""
    # The median, since one slow step among them must not hide the next one.
    before = values[-BEFORE - 1 : -1]
    return values[-1] / max(median(before), floor) if len(before) >= LAST else None


_SIGNS = (
    Sign(
        name="reward_zero",
        title="no response gets a reward",
        quantity="reward",
        measure=_largest,
        threshold=0.0,
        is_low=True,
        says=f"The mean reward was 0 in each of the last {LAST} steps.",
        advice="Read some rollouts: look for a prompt or grader that no response can satisfy, for responses that all"
        " are cut off, or for problems that are too hard for the model.",
        measured=f"largest size in {LAST} steps",
        reason=f"{LAST} batches without one reward leave nothing to learn from",
    ),
    Sign(
        name="reward_constant",
        title="the reward does not change",
        quantity="reward",
        measure=_spread,
        threshold=1e-6,
        is_low=True,
        says=f"The mean reward did not change in the last {LAST} steps.",
        advice="Read some rollouts: the reward function may return the same for every response, or every problem may be"
        " solved.",
        measured=f"largest difference in {LAST} steps",
        reason="means over different problems are never equal to six digits",
    ),
    Sign(
        name="no_variance",
        title="the groups have no variance",
        quantity="zero_variance",
        measure=_recent,
        threshold=0.95,
        says="In {value:.1%} of the groups all responses got the same reward: their gradient is 0.",
        advice="Choose problems that the model solves now and then (`deepscaler data score`, then `data filter`), or"
        " draw others by filter_groups=true.",
        measured=f"mean of {LAST} steps",
        reason="`learn` stays below 0.88 while it learns",
    ),
    Sign(
        name="entropy_low",
        title="the entropy is near 0",
        quantity="entropy",
        measure=_recent,
        threshold=0.01,
        is_low=True,
        says="The policy's entropy is {value:.2g} nats: it explores no more.",
        advice="Go back to an earlier checkpoint with clip_ratio_high=0.28, a higher temperature or a lower learning"
        " rate.",
        measured=f"mean of {LAST} steps",
        reason="reward is bought with entropy and ends with it (arXiv 2505.22617); `learn` stays above 0.03",
    ),
    Sign(
        name="kl_rising",
        title="the KL divergence to the reference rises",
        quantity="kl",
        measure=_rise,
        threshold=0.1,
        says="The KL divergence to the reference is {value:.2g} nats a token above that of the run's first steps.",
        advice="Lower the learning rate or raise kl_coefficient, from a checkpoint before the rise.",
        measured=f"mean of {LAST} steps less that of the first {LAST}, nats a token",
        reason="it begins at 0, since the reference is the model that the run starts from, and below 0.1 it does no"
        " harm",
    ),
    Sign(
        name="mismatch_rising",
        title="rollout engine and trainer drift apart",
        quantity="mismatch",
        measure=partial(_drift, floor=0.003),
        threshold=3.0,
        says="Rollout engine and trainer disagree at least {value:.1f} times as much as at the start of the run.",
        advice="Weigh the tokens (rollout_correction=token), ask for fewer batches_ahead, or compute rollouts in higher"
        " precision, from a checkpoint before the rise.",
        measured=f"mean KL of {LAST} steps in multiples of that of the first {LAST}, or of 0.003 nats",
        reason="on one machine it is 1e-7; with weights three updates old it varies by a factor of two"
        " (`bench/staleness.py`)",
    ),
    Sign(
        name="cut_off",
        title="the responses are cut off",
        quantity="cut_off",
        measure=_recent,
        threshold=0.95,
        says="{value:.1%} of the responses were cut off at the token limit.",
        advice="Raise max_response_length, or see whether the model ends its responses at all (chat template, stop"
        " token).",
        measured=f"mean of {LAST} steps",
        reason="a response that is cut off scores 0, and nothing but short luck is reinforced",
    ),
    Sign(
        name="undecided",
        title="rewards are undecided",
        quantity="undecided",
        measure=_recent,
        threshold=0.01,
        says="The reward of {value:.1%} of the responses could not be decided, and counts 0.",
        advice="Read reward/logs in the run's folder; give reward.timeout or reward.memory more, or the grader's"
        " processors less to do beside.",
        measured=f"mean of {LAST} steps",
        reason="a reward that is 0 by accident is noise; the grader decides all answers of the benchmarks",
    ),
    Sign(
        name="step_slow",
        title="a step took three times as long as usual",
        quantity="step_seconds",
        measure=partial(_slowness, floor=5.0),
        threshold=3.0,
        says="The last step took {value:.1f} times as long as usual.",
        advice="Look for other work on the machines, a slow file system or GPU, a reward function that hangs, or one"
        " very long response.",
        measured=f"seconds without saving, in multiples of the median of up to {BEFORE} steps before, or of 5 s;"
        " not the first step of an attempt, which compiles",
        reason="steps of a healthy run differ by a factor of two at most",
    ),
    Sign(
        name="not_finite",
        title="numbers are not finite",
        quantity="not_finite",
        measure=_last,
        threshold=1.0,
        says="The last step has no finite value for {value:.0f} of the metrics that the kit watches.",
        advice="Read that step in the attempt's metrics.jsonl, where null, NaN or Infinity stands for them: mend a"
        " reward function that returns NaN, or go back to a checkpoint before it with a lower learning rate. If"
        " mask_truncated is on and all responses were cut off, these are means of nothing: raise max_response_length.",
        measured="number of metrics in a step that are NaN, infinite or too large for float32",
        reason="weights that took one such update stay broken, and no other sign can be judged without the numbers",
    ),
)

SIGNS = {sign.name: sign for sign in _SIGNS}


def threshold_of(sign: Sign, moved: Mapping[str, Any]) -> float | None:
    """Returns the threshold of a sign in a recipe; None if the recipe turns it off. Raises UserError."""
    value = moved.get(sign.name, sign.threshold)
    if value is False:
        return None
    # `true` is refused: it is 1 to Python, and would be taken for a threshold.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # By comparison, since math.isfinite raises OverflowError for an integer that is larger than every float.
    if not is_number or not 0 <= value <= sys.float_info.max:
        expected = "a finite number of at least 0" if is_number else "a number"
        raise UserError(
            f"invalid value {shown_value(value)} for signs.{sign.name}: expected {expected}, or false to turn it off"
        )
    return float(value)


def check_signs(moved: Mapping[str, Any]) -> None:
    """Raises UserError for a name or a threshold that is none."""
    for name in moved:
        if name not in SIGNS:
            raise unknown("sign", name, SIGNS)
        threshold_of(SIGNS[name], moved)
