"""Decides which samples `--until` draws. The estimate is unbiased, and every decision follows from the samples on disk.

A problem's samples form two halves, the even and the odd numbers. Each half begins with a few samples, and the first
samples of the OTHER half decide how many more it gets. A half's size is thus independent of its own outcomes, so its
mean is unbiased, and so is the problem's mean, the average of both. Stopping a problem by its own outcomes would bias
the mean by 0.3 points on hard sets: problems that start with bad luck would stop there. A half gets samples in
proportion to the standard deviation that the other half predicts (Neyman's allocation), times a factor that should
make the benchmark's interval narrow enough. If it falls short, the factor grows.

plan({"aime/1": ([True] * 4, [False, True, True, False]), ...}, 64, 0.015)  ->  {"aime/1": (32, 20), ...}
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from deepscaler.output.cells import Interval
from evaluation.config import BASE
from evaluation.statistics import interval_of_draws

LEAST_FIRST, MOST_FIRST = BASE // 2, 16
"""Bounds on the samples that each half of every problem starts with."""

TYPICAL = 0.1
"""Variance p (1 - p) of a sample, averaged over problems; it is 0.12 if p follows Beta(0.4, 0.6)."""

GROWTH = 1.1
"""Least growth of the factor between two rounds, which keeps the number of rounds small."""

Halves = tuple[list[bool], list[bool]]
"""Outcomes of a problem's samples 0, 2, 4, ... and 1, 3, 5, ..."""

Counts = tuple[int, int]
"""Samples of each half."""

Table = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
"""One number per problem, or per half of each problem. Shape: (problems,) or (problems, 2)."""


def halves_of(outcomes: Mapping[int, bool]) -> Halves:
    """Returns a problem's outcomes, by sample number, as halves; each half ends before its first missing number."""
    return _leading(outcomes, 0), _leading(outcomes, 1)


def numbers_of(counts: Counts) -> list[int]:
    """Returns the numbers of the first samples of each half, for a count per half."""
    return sorted([*range(0, 2 * counts[0], 2), *range(1, 2 * counts[1], 2)])


def first_samples(num_problems: int, half_width: float) -> int:
    """Returns how many samples each half starts with: half of what a typical benchmark needs, within bounds."""
    needed = TYPICAL * (1.96 / half_width) ** 2 / num_problems
    return max(LEAST_FIRST, min(MOST_FIRST, round(needed / 4)))


def plan(problems: Mapping[str, Halves], num_samples: int, half_width: float) -> dict[str, Counts]:
    """Returns how many samples of each half every problem of one benchmark should have now.

    If all of them exist, no more are needed: the interval's half width, a share of 1, is at most `half_width`, or
    every problem has `num_samples`.
    """
    # Of an odd number of samples the even numbers are one more.
    most = np.array([len(range(0, num_samples, 2)), len(range(1, num_samples, 2))])
    num_first = min(first_samples(len(problems), half_width), int(most.min()))
    counts: Table = np.full((len(problems), 2), float(num_first))
    there = np.array([[len(half) for half in halves] for halves in problems.values()])
    if (there < counts).any():
        return _by_problem(problems, counts)
    # from here earlier rounds are planned again from the samples that they had, so that a resumed command
    # decides exactly as an uninterrupted one
    first = _num_right(problems, counts)
    factors = np.array([_factor(first[:, other], num_first, most, half_width) for other in (1, 0)])
    counts = _allocate(first, num_first, most, factors)
    while (there >= counts).all() and (counts < most).any():
        interval = _interval(_num_right(problems, counts), counts, first, num_first)
        if (excess := (interval.high - interval.low) / 2 / half_width) <= 1:
            break
        # squared, because an interval narrows with the root of the number of samples
        factors *= max(GROWTH, excess**2)
        counts = _allocate(first, num_first, most, factors)
    return _by_problem(problems, counts)


def estimate(problems: Mapping[str, Halves], half_width: float) -> tuple[dict[str, float], Interval]:
    """Returns the unbiased mean of each problem, and Pass@1 of exactly these problems with its 95 % interval.

    The interval is over repeated sampling of the same problems, so more samples shrink it toward zero. Each half of
    every problem must have a sample.
    """
    counts = _sizes(problems)
    num_first = num_fixed(problems, half_width)
    right, first = _num_right(problems, counts), _num_right(problems, np.full_like(counts, num_first))
    return means_of(problems), _interval(right, counts, first, num_first)


def means_of(problems: Mapping[str, Halves]) -> dict[str, float]:
    """Returns the unbiased mean of each problem. Each half of every problem must have a sample."""
    counts = _sizes(problems)
    means = map(float, (_num_right(problems, counts) / counts).mean(axis=1))
    return dict(zip(problems, means, strict=True))


def num_fixed(problems: Mapping[str, Halves], half_width: float) -> int:
    """Returns how many samples of each half are there whatever the outcomes are."""
    # A folder that was drawn with another width may have fewer first samples than this one asks for.
    return min(first_samples(len(problems), half_width), int(_sizes(problems).min()))


def _sizes(problems: Mapping[str, Halves]) -> Table:
    return np.array([[len(half) for half in halves] for halves in problems.values()])


def _num_right(problems: Mapping[str, Halves], counts: Table) -> Table:
    rows = zip(problems.values(), counts, strict=True)
    return np.array([[sum(half[: int(n)]) for half, n in zip(halves, row, strict=True)] for halves, row in rows], float)


@dataclass(frozen=True, slots=True)
class _Spread:
    """Models the problems' pass rates as a beta distribution, because a few samples say little about one problem.

    Four wrong answers out of four do not prove that the fifth is wrong: among hard problems it probably is, among
    problems with a rate of 50 % it probably is not.
    """

    right: float
    wrong: float

    @classmethod
    def of(cls, right: Table, num_draws: int) -> "_Spread":
        """Returns the distribution with the mean and variance that the problems' samples show."""
        # By moments: the variance between problems is the observed one, less the part that sampling adds. Half a right
        # answer in one more sample keeps the mean off 0 and 1, and the bounds keep the size finite.
        shares = right / num_draws
        mean = (right.sum() + 0.5) / (len(right) * num_draws + 1)
        within = (shares * (1 - shares)).mean() / max(num_draws - 1, 1)
        between = ((shares - mean) ** 2).sum() / max(len(right) - 1, 1) - within
        size = min(max(mean * (1 - mean) / between - 1, 0.1), 50.0) if between > 0 else 50.0
        return cls(float(mean * size), float((1 - mean) * size))

    def variance(self, right: Table, num_draws: Table | int) -> Table:
        """Returns the expected variance of one more sample of each problem, given the samples it has."""
        a, b = self.right + right, self.wrong + num_draws - right
        return np.asarray(a * b / ((a + b) * (a + b + 1)))


def _interval(right: Table, counts: Table, first: Table, num_first: int) -> Interval:
    """Returns the 95 % interval of Pass@1 of exactly these problems."""
    spread = _Spread.of(first.sum(axis=1), 2 * num_first)
    variances = spread.variance(right.sum(axis=1), counts.sum(axis=1)) * _of_mean(counts)
    value = float((right / counts).mean())
    return interval_of_draws(value, float(variances.sum()) / len(counts) ** 2, int(counts.sum()))


def _of_mean(counts: Table) -> Table:
    """Returns the variance of the mean of both halves' means, as a share of one sample's variance."""
    return np.asarray((1 / counts).sum(axis=1) / 4)


def _factor(first: Table, num_first: int, most: Table, half_width: float) -> float:
    """Returns the allocation factor that should reach a half width, judged from one half's first samples."""
    variances = _Spread.of(first, num_first).variance(first, num_first)
    value = float(first.mean() / num_first)
    low, high = 2.0 * num_first, 1e6  # no standard deviation is above 1/2: the least factor gives the first samples
    for _ in range(40):  # bisection, to far below one sample
        middle = (low + high) / 2
        counts = _counts(np.stack([variances, variances], axis=1), num_first, most, np.array([middle, middle]))
        variance = float((variances * _of_mean(counts)).sum()) / len(first) ** 2
        interval = interval_of_draws(value, variance, int(counts.sum()))
        low, high = (middle, high) if interval.high - interval.low > 2 * half_width else (low, middle)
    return high


def _allocate(first: Table, num_first: int, most: Table, factors: Table) -> Table:
    """Returns each half's number of samples, decided by the first samples of the other half."""
    variances = [_Spread.of(first[:, other], num_first).variance(first[:, other], num_first) for other in (1, 0)]
    return _counts(np.stack(variances, axis=1), num_first, most, factors)


def _counts(variances: Table, num_first: int, most: Table, factors: Table) -> Table:
    return np.asarray(np.clip(np.ceil(factors * np.sqrt(variances)), num_first, most))


def _by_problem(problems: Iterable[str], counts: Table) -> dict[str, Counts]:
    return {problem: (int(even), int(odd)) for problem, (even, odd) in zip(problems, counts, strict=True)}


def _leading(outcomes: Mapping[int, bool], number: int) -> list[bool]:
    found = []
    while number in outcomes:
        found.append(outcomes[number])
        number += 2
    return found
