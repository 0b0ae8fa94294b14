"""Computes the statistics of a paired comparison: two models on the same problems.

difference([Paired.of([(4, 16), (0, 16)], [(9, 16), (1, 16)])])      +18.8 points, from two problems

p is the larger one of two tests: t alone finds differences too often if few problems differ, and the exact test alone
may contradict the interval. The problem is the unit. Both of its rates rise and fall with its difficulty, which their
difference cancels. An unpaired test of 30 problems detects almost nothing of what this one detects (docs/compare.md has
the figures).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

# from scipy.special, because the import of scipy.stats takes four times as long
from scipy.special import ndtri, stdtr, stdtrit

from evaluation.compare.paired import Paired
from evaluation.compare.signs import flip_signs

Verdict = Literal["better", "worse", "no difference shown", "not enough evidence"]

LEVEL = 0.05
"""Rate of false alarms that p-values and intervals (95 %) are judged by."""

POWER = 0.8
"""Chance of detecting a difference of the size that `smallest` and `problems_needed` refer to."""

MARGIN = 0.02
"""Default size below which a difference does not matter, as a share of one: 2 points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Holds the difference of two models on one benchmark, or on several equally weighted ones, as shares of one."""

    num_problems: int
    before: float
    after: float
    value: float
    low: float
    high: float
    """Upper end of the 95 % interval; `low` is the lower."""
    lower_bound: float
    """Value that the difference exceeds with 95 % confidence, for a one-sided test of a drop."""
    p_value: float
    """P-value of the two-sided test."""
    p_worse: float
    """P-value of the one-sided test of a drop."""
    effect_size: float
    """The difference in standard deviations of a problem's difference (Cohen's d for pairs): 0.2 small, 0.8 large."""
    risen: int
    fallen: int
    """Problems whose rate is lower than the baseline's; `risen` counts those with a higher rate."""
    standard_error: float
    between: float | None
    """Variance of a problem's difference that comes from the problems themselves; None if unknown."""
    within: float | None
    """Variance of a problem's difference that comes from sampling; None if unknown."""
    noise: float | None
    """Sampling variance with a single sample per problem; None if unknown."""

    @property
    def smallest(self) -> float:
        """Returns the smallest difference that a two-sided test of these samples detects in 80 % of cases."""
        return _reach(two_sided=True) * self.standard_error

    @property
    def smallest_drop(self) -> float:
        """Returns the smallest drop that a one-sided test of these samples detects in 80 % of cases."""
        return _reach(two_sided=False) * self.standard_error

    def problems_needed(self, difference: float) -> int:
        """Returns how many such problems would reveal a difference in 80 % of cases, with as many samples each."""
        return math.ceil(self.num_problems * (self.smallest / difference) ** 2)

    def samples_needed(self, difference: float) -> int | None:
        """Returns how many samples per problem would reveal it; None if no number would, or if it is unknown."""
        if self.noise is None or self.between is None:
            return None
        # Solves (between + noise / samples) / problems = (difference / reach) ** 2 for the samples.
        room = (difference / _reach(two_sided=True)) ** 2 * self.num_problems - self.between
        return max(1, math.ceil(self.noise / room)) if room > 0 else None


def difference(benchmarks: Sequence[Paired]) -> Difference:
    """Returns the difference over one benchmark, or over several.

    Benchmarks weigh the same whatever their size, as in the mean of published tables; otherwise the 675 problems of
    one would decide alone. The interval is Student's t, with Welch and Satterthwaite's degrees of freedom for several
    benchmarks. The p-value is the larger one of the t test and the exact test that flips signs, which is McNemar's
    test for one sample per problem.
    """
    # Both tests, because t alone raises false alarms too often if few problems differ, and the exact test alone may
    # contradict the interval.
    share = 1 / len(benchmarks)
    errors = np.array([share * share * one.variance / one.num_problems for one in benchmarks])
    spread = float(errors.sum())
    # Welch and Satterthwaite: benchmarks differ in size and variance, so their degrees of freedom do not add up.
    freedom = spread**2 / sum(
        float(part) ** 2 / max(one.num_problems - 1, 1) for part, one in zip(errors, benchmarks, strict=True)
    )
    value = share * float(sum(one.differences.mean() for one in benchmarks))
    # Never 0, which would be divided by below: the variance of a pair has a floor.
    error = math.sqrt(spread)
    two_sided, worse = flip_signs(benchmarks)
    num_problems = sum(one.num_problems for one in benchmarks)
    half = float(stdtrit(freedom, 1 - LEVEL / 2)) * error
    within = _per_problem([one.within for one in benchmarks], benchmarks)
    return Difference(
        num_problems=num_problems,
        before=share * float(sum(one.before.mean() for one in benchmarks)),
        after=share * float(sum(one.after.mean() for one in benchmarks)),
        value=value,
        low=max(-1.0, value - half),
        high=min(1.0, value + half),
        lower_bound=max(-1.0, value - float(stdtrit(freedom, 1 - LEVEL)) * error),
        p_value=max(two_sided, 2 * float(stdtr(freedom, -abs(value) / error))),
        p_worse=max(worse, float(stdtr(freedom, value / error))),
        effect_size=value / math.sqrt(share * sum(one.variance for one in benchmarks)),
        risen=sum(int(np.sum(one.differences > 0)) for one in benchmarks),
        fallen=sum(int(np.sum(one.differences < 0)) for one in benchmarks),
        standard_error=error,
        between=None if within is None else spread * num_problems - within,
        within=within,
        noise=_per_problem([one.noise for one in benchmarks], benchmarks),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted for testing several at once (Holm 1979), each to be compared with 0.05."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        # a larger p-value must not become smaller than an earlier one by its smaller factor
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def verdict(found: Difference, adjusted: float, margin: float = MARGIN) -> Verdict:
    """Returns the verdict of a two-sided test, given its adjusted p-value."""
    if adjusted <= LEVEL:
        return "better" if found.value > 0 else "worse"
    # Stricter than two one-sided tests at 5 % (Schuirmann 1987), which ask the 90 % interval.
    return "no difference shown" if -margin < found.low and found.high < margin else "not enough evidence"


def _reach(*, two_sided: bool) -> float:
    """Returns the standard errors that a difference detected in 80 % of cases must have: 2.8, or 2.5 one-sided."""
    return float(ndtri(1 - LEVEL / (2 if two_sided else 1)) + ndtri(POWER))


def _per_problem(values: Sequence[float | None], benchmarks: Sequence[Paired]) -> float | None:
    """Returns a component of the mean's variance, times the number of problems, as if all were one benchmark."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    total = sum(one.num_problems for one in benchmarks)
    return total * sum(value / one.num_problems for value, one in zip(known, benchmarks, strict=True)) / len(known) ** 2
