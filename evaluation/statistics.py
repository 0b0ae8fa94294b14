"""Computes an evaluation's numbers from a table of grades: problems x samples, True if correct.

outcomes = [[True, False, True, True], [False, False, False, False]]     pass@1 0.375, pass@4 0.5

scipy supplies the distributions behind the intervals.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.special import stdtrit

from deepscaler.output.cells import Interval

Outcomes = Sequence[Sequence[bool]]


def pass_at_1(outcomes: Outcomes) -> Interval:
    """Returns the mean over problems of the share of correct samples, with an interval clustered by problem.

    Samples of one problem are not independent, so the problem is the unit. The standard error is that of the problems'
    means (Miller 2024, arXiv 2411.00640, section 2.2). The interval is Wilson's, with the number of independent draws
    that gives that standard error (at least one per problem) and Student's t for the number of problems. So it has a
    width at 0 % and 100 % and stays in 0..1. If few problems are ever solved (a mean of 5 %), it covers 90 %.
    """
    # A normal interval has no width at 0 and 100 %, and on 30 problems it leaves 0..1. A test simulates the coverage.
    return clustered_interval([float(np.mean(row)) for row in outcomes], num_draws=sum(len(row) for row in outcomes))


def interval_of_share(share: float, num_problems: int) -> Interval:
    """Returns the interval of a share if only the number of problems is known: as if each had one sample."""
    return _wilson(share, float(num_problems), t_quantile(num_problems - 1))


def clustered_interval(problem_means: Sequence[float], num_draws: int) -> Interval:
    """Returns the mean over problems with the interval of `pass_at_1`, for `num_draws` samples in all."""
    means = np.array(problem_means, dtype=float)
    problems = len(means)
    value = float(means.mean())
    binomial = value * (1 - value)
    variance = float(means.var(ddof=1)) / problems if problems > 1 else binomial
    # The number of independent draws whose binomial variance is the clustered one, within what is possible.
    if binomial == 0:  # all or none solved: a variance of 0 says nothing, so each problem counts as one draw
        draws = float(problems)
    elif variance == 0:
        draws = float(num_draws)
    else:
        draws = min(max(binomial / variance, float(problems)), float(num_draws))
    return _wilson(value, draws, t_quantile(problems - 1))


def interval_of_draws(value: float, variance: float, num_draws: int) -> Interval:
    """Returns Wilson's 95 % interval for a mean of draws with a known sampling variance.

    At 0 % and 100 % the variance is 0 and says nothing, so the number of draws takes its place.
    """
    binomial = value * (1 - value)
    # With that many degrees of freedom Student's quantile is the normal one: the variance is known, not
    # estimated.
    return _wilson(value, binomial / variance if binomial and variance else float(num_draws), t_quantile(10**9))


def _wilson(value: float, draws: float, quantile: float) -> Interval:
    """Returns Wilson's score interval for a share seen in `draws` independent draws."""
    # Wilson 1927, J. Am. Stat. Assoc. 22:209. The interval always includes the value itself.
    square = quantile * quantile
    centre = (value + square / (2 * draws)) / (1 + square / draws)
    half = quantile / (1 + square / draws) * math.sqrt(value * (1 - value) / draws + square / (4 * draws * draws))
    return Interval(value, max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half)))


def t_quantile(degrees: int) -> float:
    """Returns the two-sided 95 % quantile of Student's t; one degree of freedom is the fewest there is."""
    return float(stdtrit(max(degrees, 1), 0.975))


def pass_at_k(outcomes: Outcomes, k: int) -> float:
    """Returns the unbiased estimate of solving a problem in k tries, averaged: 1 - C(n-c, k) / C(n, k).

    The formula is that of Chen et al. 2021 (arXiv 2107.03374); 1 - (1 - c/n)^k would be biased.

    Raises ValueError for a problem with fewer than k samples.
    """
    return float(np.mean([_pass_at_k(len(row), sum(row), k) for row in outcomes]))


def _pass_at_k(n: int, c: int, k: int) -> float:
    if n < k:
        raise ValueError(f"pass@{k} needs at least {k} samples per problem, there are {n}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def ks(num_samples: int) -> list[int]:
    """Returns the powers of two up to the number of samples, and that number."""
    return sorted({1 << power for power in range(num_samples.bit_length())} | {num_samples})


def majority_at_n(votes: Sequence[Sequence[Hashable | None]], outcomes: Outcomes) -> float:
    """Returns the share of problems whose most frequent answer is correct.

    `votes` has one key per sample, equal for equivalent answers and None for a missing answer, which has no vote. If
    several answers lead, each wins equally often, as if the tie were broken at random.
    """
    return float(np.mean([_majority(v, o) for v, o in zip(votes, outcomes, strict=True)]))


def _majority(votes: Sequence[Hashable | None], outcomes: Sequence[bool]) -> float:
    counts = Counter(vote for vote in votes if vote is not None)
    if not counts:
        return 0.0
    most = max(counts.values())
    leaders = {vote for vote, count in counts.items() if count == most}
    right = {vote for vote, correct in zip(votes, outcomes, strict=True) if correct}
    return len(leaders & right) / len(leaders)
