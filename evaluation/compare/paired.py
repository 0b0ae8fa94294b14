"""Two models on the same problems: counts of correct samples, and how far their differences spread.

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
    """One benchmark: correct and drawn samples of each problem, before (the baseline) and after. Shape: (problems,)."""

    correct_before: NDArray[np.int64]
    drawn_before: NDArray[np.int64]
    correct_after: NDArray[np.int64]
    drawn_after: NDArray[np.int64]

    @classmethod
    def of(cls, before: Counts, after: Counts) -> "Paired":
        """Returns the pair of two lists of (correct, drawn), which are in one order of problems."""
        columns = (*zip(*before, strict=True), *zip(*after, strict=True))
        return cls(*(np.array(column, dtype=np.int64) for column in columns))

    @property
    def num_problems(self) -> int:
        """Returns the number of problems."""
        return len(self.drawn_before)

    @property
    def before(self) -> Array:
        """Returns the share of correct samples of each problem, of the baseline."""
        return self.correct_before / self.drawn_before

    @property
    def after(self) -> Array:
        """Returns the share of correct samples of each problem, of the other model."""
        return self.correct_after / self.drawn_after

    @property
    def differences(self) -> Array:
        """Returns by how much each problem's rate has risen.

        Pairing samples by their seeds as well would change nothing: the mean over a problem's pairs of the differences
        is the difference of its means, and the variance between problems holds whatever samples share.
        """
        return self.after - self.before

    @property
    def variance(self) -> float:
        """Returns the variance of a problem's difference (Miller 2024, arXiv 2411.00640, section 4), with a floor.

        The variance between problems holds the noise of their samples. By chance, or where hardly any problem is ever
        solved (or missed), it comes out smaller than that noise alone, down to 0: then an interval has no width. So it
        is never taken below the noise of rates that are drawn to the benchmark's own rate by the weight of one sample;
        that noise is of independent samples, so of one model with the same seeds the interval is wider than it need be.
        Where no problem differs at all, the next one might: that one is counted as if it differed by all.
        """
        drawn_together = (((rates * drawn + _typical(rates)) / (drawn + 1), drawn) for rates, drawn in self._both)
        floor = sum(float(np.mean(_noise(rates, drawn))) for rates, drawn in drawn_together)
        if self.num_problems == 1:
            return 1.0  # it says nothing of others: the largest variance that differences can have
        seen = float(self.differences.var(ddof=1)) if self.differences.any() else 1 / (self.num_problems + 1)
        return max(seen, floor)

    @property
    def noise(self) -> float | None:
        """Returns the part of the variance that one sample of each model for every problem would have by itself.

        Drawing m samples divides it by m. None where a problem has one sample, which has no spread.
        """
        if not self._is_spread:
            return None
        return float(sum(np.mean(_noise(rates, drawn - 1) * drawn) for rates, drawn in self._both))

    @property
    def within(self) -> float | None:
        """Returns the part of the variance that comes from drawing these samples rather than others."""
        if not self._is_spread:
            return None
        return min(self.variance, float(sum(np.mean(_noise(rates, drawn - 1)) for rates, drawn in self._both)))

    @property
    def _both(self) -> tuple[tuple[Array, NDArray[np.int64]], ...]:
        """Returns rates and drawn samples of each model."""
        return (self.before, self.drawn_before), (self.after, self.drawn_after)

    @property
    def _is_spread(self) -> bool:
        return min(int(self.drawn_before.min()), int(self.drawn_after.min())) > 1


def _noise(rates: Array, drawn: NDArray[np.int64]) -> Array:
    return rates * (1 - rates) / drawn


def _typical(rates: Array) -> float:
    """Returns a benchmark's rate, half a problem away from 0 and 1."""
    return (float(rates.sum()) + 0.5) / (len(rates) + 1)
