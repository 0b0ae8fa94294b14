"""Pairs two models on the same problems: their counts of correct samples, and the variance of their differences.

Paired.of([(4, 16), (0, 16)], [(9, 16), (1, 16)]).differences      [0.3125, 0.0625]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = Sequence[tuple[int, int]]
"""Correct samples and all samples, by problem."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Holds each problem's correct and drawn samples, before (the baseline) and after. Shape: (problems,)."""

    correct_before: NDArray[np.int64]
    drawn_before: NDArray[np.int64]
    correct_after: NDArray[np.int64]
    drawn_after: NDArray[np.int64]

    @classmethod
    def of(cls, before: Counts, after: Counts) -> "Paired":
        """Returns the pair of two lists of (correct, drawn), both in the same order of problems."""
        columns = (*zip(*before, strict=True), *zip(*after, strict=True))
        return cls(*(np.array(column, dtype=np.int64) for column in columns))

    @property
    def num_problems(self) -> int:
        """Returns the number of problems."""
        return len(self.drawn_before)

    @property
    def before(self) -> Array:
        """Returns the baseline's share of correct samples for each problem."""
        return self.correct_before / self.drawn_before

    @property
    def after(self) -> Array:
        """Returns the other model's share of correct samples for each problem."""
        return self.correct_after / self.drawn_after

    @property
    def differences(self) -> Array:
        """Returns the rise of each problem's rate."""
        # Pairing samples by their seeds as well would change nothing: the mean of the differences over a
        # problem's pairs is the difference of its means, and the variance between problems includes whatever
        # samples share.
        return self.after - self.before

    @property
    def variance(self) -> float:
        """Returns the variance of a problem's difference (Miller 2024, arXiv 2411.00640, section 4), with a floor.

        The variance between problems includes the noise of their samples. By chance, or if hardly any problem is ever
        solved (or missed), the estimate falls below that noise alone, down to 0, and the interval has no width. The
        floor is the noise of rates that are shrunk toward the benchmark's rate by the weight of one sample.
        """
        drawn_together = (((rates * drawn + _typical(rates)) / (drawn + 1), drawn) for rates, drawn in self._both)
        # this assumes independent samples, so for one model with the same seeds the interval is wider than
        # necessary
        floor = sum(float(np.mean(_noise(rates, drawn))) for rates, drawn in drawn_together)
        if self.num_problems == 1:
            return 1.0  # one problem says nothing about others: take the largest variance that differences can have
        # if no problem differs at all, one more problem is assumed that differs completely
        seen = float(self.differences.var(ddof=1)) if self.differences.any() else 1 / (self.num_problems + 1)
        return max(seen, floor)

    @property
    def noise(self) -> float | None:
        """Returns the sampling part of the variance with one sample per model and problem.

        Drawing m samples divides it by m. None if a problem has only one sample, which has no spread.
        """
        if not self._is_spread:
            return None
        return float(sum(np.mean(_noise(rates, drawn - 1) * drawn) for rates, drawn in self._both))

    @property
    def within(self) -> float | None:
        """Returns the part of the variance that comes from sampling; None if a problem has only one sample."""
        if not self._is_spread:
            return None
        # drawn - 1 makes the estimate of a problem's p (1 - p) / n unbiased
        return min(self.variance, float(sum(np.mean(_noise(rates, drawn - 1)) for rates, drawn in self._both)))

    @property
    def _both(self) -> tuple[tuple[Array, NDArray[np.int64]], ...]:
        """Returns the rates and the numbers of drawn samples of each model."""
        return (self.before, self.drawn_before), (self.after, self.drawn_after)

    @property
    def _is_spread(self) -> bool:
        return min(int(self.drawn_before.min()), int(self.drawn_after.min())) > 1


def _noise(rates: Array, drawn: NDArray[np.int64]) -> Array:
    return rates * (1 - rates) / drawn


def _typical(rates: Array) -> float:
    """Returns a benchmark's rate, kept half a problem away from 0 and 1."""
    return (float(rates.sum()) + 0.5) / (len(rates) + 1)
