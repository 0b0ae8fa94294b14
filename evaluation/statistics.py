"""The numbers of an evaluation, from a table of grades: problems x samples, True where correct.

outcomes = [[True, False, True, True], [False, False, False, False]]     pass@1 0.375, pass@4 0.5
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.special import stdtrit

from deepscaler.output.cells import Interval

Outcomes = Sequence[Sequence[bool]]


def pass_at_1(outcomes: Outcomes) -> Interval:
    """The mean over problems of the share of correct samples, with an interval clustered by problem.

    Samples of one problem are not independent: the problem is the unit. The standard error is that of the problems'
    means (Miller 2024, arXiv 2411.00640, section 2.2); the interval is Wilson's with the number of independent draws
    that gives that standard error (at least one a problem) and Student's t for the number of problems, so that it has
    a width at 0 % and 100 % and stays in 0..1. Where few problems are ever solved (a mean of 5 %) it covers 90 %.
    """
    return clustered_interval([float(np.mean(row)) for row in outcomes], num_draws=sum(len(row) for row in outcomes))


def interval_of_share(share: float, num_problems: int) -> Interval:
    """Returns the interval of a share of which only the number of problems is known: as if each was asked once."""
    return _wilson(share, float(num_problems), t_quantile(num_problems - 1))


def clustered_interval(problem_means: Sequence[float], num_draws: int) -> Interval:
    """Returns the mean over problems with the interval of `pass_at_1`, from so many samples in all."""
    means = np.array(problem_means, dtype=float)
    problems = len(means)
    value = float(means.mean())
    binomial = value * (1 - value)
    variance = float(means.var(ddof=1)) / problems if problems > 1 else binomial
    if binomial == 0:
        draws = float(problems)
    elif variance == 0:
        draws = float(num_draws)
    else:
        draws = min(max(binomial / variance, float(problems)), float(num_draws))
    return _wilson(value, draws, t_quantile(problems - 1))


def interval_of_draws(value: float, variance: float, num_draws: int) -> Interval:
    """Returns Wilson's 95 % interval for a mean of draws whose sampling has a variance.

    At 0 % and 100 % the variance tells nothing, and the number of draws takes its place.
    """
    binomial = value * (1 - value)
    return _wilson(value, binomial / variance if binomial and variance else float(num_draws), t_quantile(10**9))


def _wilson(value: float, draws: float, quantile: float) -> Interval:
    """Wilson's score interval for a share seen in so many independent draws."""
    square = quantile * quantile
    centre = (value + square / (2 * draws)) / (1 + square / draws)
    half = quantile / (1 + square / draws) * math.sqrt(value * (1 - value) / draws + square / (4 * draws * draws))
    return Interval(value, max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half)))


def t_quantile(degrees: int) -> float:
    """Returns the two-sided 95 % quantile of Student's t; one degree of freedom is the fewest there is."""
    return float(stdtrit(max(degrees, 1), 0.975))


def pass_at_k(outcomes: Outcomes, k: int) -> float:
    """The unbiased estimate of solving a problem in k tries, 1 - C(n-c, k) / C(n, k) (Chen et al. 2021), averaged.

    Raises ValueError for a problem with fewer than k samples.
    """
    return float(np.mean([_pass_at_k(len(row), sum(row), k) for row in outcomes]))


def _pass_at_k(n: int, c: int, k: int) -> float:
    if n < k:
        raise ValueError(f"pass@{k} needs at least {k} samples a problem, there are {n}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def ks(num_samples: int) -> list[int]:
    """Powers of two up to the number of samples, and that number."""
    return sorted({1 << power for power in range(num_samples.bit_length())} | {num_samples})


def majority_at_n(votes: Sequence[Sequence[Hashable | None]], outcomes: Outcomes) -> float:
    """The share of problems whose most frequent answer is correct, averaged over problems.

    `votes` has one key a sample, equal for equivalent answers and None for no answer (which has no vote). Where
    several answers lead, each wins equally often, as if the tie were broken by lot.
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
