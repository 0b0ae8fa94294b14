"""Signs of a sick training: which number of a run tells of trouble, from which value on, and what to do about it.

SIGNS["cut_off"].measure([0.2, 0.97, 1.0, 1.0, 1.0, 1.0])  => 0.994, at or above its threshold of 0.95

`status`, reports, W&B alerts and the rules for Prometheus take names, sentences and advice from this table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import fmean, median
from typing import Any

from deepscaler.system.errors import UserError, unknown

LAST = 5
"""Steps over which a number has to be sick: one batch tells little, and a sign should come before an hour is lost."""

BEFORE = 20
"""Most steps before, which tell what is usual."""

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
    """Whether a number at or below the threshold is the sick one, instead of at or above."""
    says: str
    """A sentence with the number as `{value}`."""
    advice: str
    measured: str
    """What is compared, in words."""
    reason: str
    """Why this threshold."""

    def is_seen(self, value: float, threshold: float) -> bool:
        """Returns whether a number is sick."""
        return value <= threshold if self.is_low else value >= threshold


def _recent(values: list[float]) -> float | None:
    return fmean(values[-LAST:]) if len(values) >= LAST else None


def _largest(values: list[float]) -> float | None:
    return max(map(abs, values[-LAST:])) if len(values) >= LAST else None


def _spread(values: list[float]) -> float | None:
    """Returns the largest difference; None where all are 0, which is a sign of its own."""
    last = values[-LAST:]
    return max(last) - min(last) if len(last) == LAST and any(last) else None


def _surge(values: list[float], floor: float) -> float | None:
    """Returns the last steps' mean in multiples of the mean of the steps right before."""
    return _multiple(values[-LAST:], values[-LAST - BEFORE : -LAST], floor)


def _drift(values: list[float], floor: float) -> float | None:
    """Returns the last steps' mean in multiples of the mean of the run's first steps."""
    return _multiple(values[-LAST:], values[:LAST], floor) if len(values) >= 2 * LAST else None


def _multiple(last: list[float], before: list[float], floor: float) -> float | None:
    if min(len(last), len(before)) < LAST:
        return None
    return fmean(map(abs, last)) / max(fmean(map(abs, before)), floor)


def _slowness(values: list[float], floor: float) -> float | None:
    """Returns the last value in multiples of the median before it."""
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
        measure=partial(_surge, floor=0.03),
        threshold=3.0,
        says=f"The KL divergence to the reference is {{value:.1f}} times that of the {BEFORE} steps before.",
        advice="Lower the learning rate or raise kl_coefficient, from a checkpoint before the rise.",
        measured=f"mean of {LAST} steps in multiples of that of up to {BEFORE} before, or of 0.03 nats",
        reason="it grows slowly in a healthy run, and below 0.1 nats a token it does no harm",
    ),
    Sign(
        name="mismatch_rising",
        title="rollout engine and trainer drift apart",
        quantity="mismatch",
        measure=partial(_drift, floor=0.003),
        threshold=3.0,
        says="Rollout engine and trainer disagree {value:.1f} times as much as at the start of the run.",
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
)

SIGNS = {sign.name: sign for sign in _SIGNS}


def threshold_of(sign: Sign, moved: Mapping[str, Any]) -> float | None:
    """Returns the threshold of a sign in a recipe; None where the recipe turns it off."""
    value = moved.get(sign.name, sign.threshold)
    return None if value is False else float(value)


def check_signs(moved: Mapping[str, Any]) -> None:
    """Raises UserError for a name or a threshold that is none."""
    for name, value in moved.items():
        if name not in SIGNS:
            raise unknown("sign", name, SIGNS)
        if value is not False and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UserError(f"invalid value {value!r} for signs.{name}: expected a number, or false to turn it off")
