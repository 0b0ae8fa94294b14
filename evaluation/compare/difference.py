"""The statistics of a paired comparison: two models on the same problems, without files and without texts.

difference([Paired.of([(4, 16), (0, 16)], [(9, 16), (1, 16)])])      +18.8 points, from two problems

The problem is the unit. Its two rates go up and down with its difficulty, which the difference of both cancels: an
unpaired test of 30 problems sees almost nothing of what this one sees (docs/evaluate.md has the figures).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from evaluation.compare.paired import Paired
from evaluation.compare.signs import flip_signs

Verdict = Literal["better", "worse", "no difference shown", "not enough evidence"]

LEVEL = 0.05
"""Error of the first kind: of p-values, and of intervals (95 %)."""

POWER = 0.8
"""Chance of seeing a difference of the size that `needed` and `smallest` are about."""

MARGIN = 0.02
"""Differences below it are taken for none unless a user says otherwise; a share of one, so 2 points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far two models are apart on a benchmark, or on several that weigh the same. Shares of one, not points."""

    num_problems: int
    before: float
    after: float
    value: float
    low: float
    high: float
    """The ends of the 95 % interval."""
    lower_bound: float
    """95 % sure that the difference is above it: what a one-sided test of a drop goes by."""
    p_value: float
    """Two-sided."""
    p_worse: float
    """One-sided: of a drop."""
    effect_size: float
    """The difference in standard deviations of a problem's difference (Cohen's d for pairs): 0.2 small, 0.8 large."""
    risen: int
    fallen: int
    """Problems whose rate is higher, or lower, than the baseline's."""
    standard_error: float
    between: float | None
    within: float | None
    """The variance of a problem's difference: of the problems themselves, and of the samples; None if not known."""
    noise: float | None
    """As `within`, from one sample a problem."""

    @property
    def smallest(self) -> float:
        """Returns the smallest difference that a two-sided test of these problems and samples sees in 80 % of cases."""
        return _reach(two_sided=True) * self.standard_error

    @property
    def smallest_drop(self) -> float:
        """Returns the smallest drop that a one-sided test of these problems and samples sees in 80 % of cases."""
        return _reach(two_sided=False) * self.standard_error

    def problems_needed(self, difference: float) -> int:
        """Returns how many problems of the same kind and samples would show a difference in 80 % of cases."""
        return math.ceil(self.num_problems * (self.smallest / difference) ** 2)

    def samples_needed(self, difference: float) -> int | None:
        """Returns how many samples of each of these problems would; None where no number would, or it is not known."""
        if self.noise is None or self.between is None:
            return None
        room = (difference / _reach(two_sided=True)) ** 2 * self.num_problems - self.between
        return max(1, math.ceil(self.noise / room)) if room > 0 else None


def difference(benchmarks: Sequence[Paired]) -> Difference:
    """Returns the difference over one benchmark, or over several.

    Several weigh the same whatever their size, as in the mean of the published tables: else the 675 problems of one
    would decide alone. The interval is Student's t, with Welch and Satterthwaite's degrees of freedom for several. The
    p-value is the larger one of the t test's and of the exact test that flips signs, which for one sample a problem is
    McNemar's: where few problems differ at all, t alone alarms too often.
    """
    share = 1 / len(benchmarks)
    errors = np.array([share * share * one.variance / one.num_problems for one in benchmarks])
    spread = float(errors.sum())
    freedom = spread**2 / sum(
        float(part) ** 2 / max(one.num_problems - 1, 1) for part, one in zip(errors, benchmarks, strict=True)
    )
    value = share * float(sum(one.differences.mean() for one in benchmarks))
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
    """Returns p-values that hold for all of them together (Holm 1979): compare each with 0.05 as if it were alone."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def verdict(found: Difference, adjusted: float, margin: float = MARGIN) -> Verdict:
    """Returns the verdict of a two-sided test whose p-value was adjusted for the others."""
    if adjusted <= LEVEL:
        return "better" if found.value > 0 else "worse"
    return "no difference shown" if -margin < found.low and found.high < margin else "not enough evidence"


def _reach(*, two_sided: bool) -> float:
    """Returns how many standard errors a difference must have to be seen in 80 % of cases: 2.8, or 2.5 one-sided."""
    return float(ndtri(1 - LEVEL / (2 if two_sided else 1)) + ndtri(POWER))


def _per_problem(values: Sequence[float | None], benchmarks: Sequence[Paired]) -> float | None:
    """Returns a part of the variance as if all problems were one benchmark: it is the mean's times their number."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    total = sum(one.num_problems for one in benchmarks)
    return total * sum(value / one.num_problems for value, one in zip(known, benchmarks, strict=True)) / len(known) ** 2
