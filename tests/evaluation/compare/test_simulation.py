"""How often the paired comparison is right, by simulation: models alike or not, 30 problems, 16 samples of each.

`python -m tests.evaluation.compare.test_simulation` prints the table of docs/evaluate.md.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from evaluation.compare.difference import difference
from evaluation.compare.paired import Paired

PROBLEMS, SAMPLES = 30, 16
SPREAD = 0.5
"""Standard deviation of what a model finds harder or easier than the problem is, in log-odds."""

BENCHMARKS = {"middle": (0.5, 0.8), "easy": (2.0, 0.2), "hard": (0.1, 3.0)}
"""Beta distributions of how often problems are solved: 38 %, 91 % and 3 % on average, most of them never or always."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """Shares of all replicates, and the difference between the models."""

    rate: float
    truth: float
    covered: float
    paired: float
    unpaired: float
    one_sided: float
    """Differences that were seen: by the paired and the unpaired test, and drops by the gate's."""


def rates(generator: np.random.Generator, kind: str, size: tuple[int, ...], shift: float) -> tuple[Array, Array]:
    """Returns how often two models solve the same problems."""
    odds = stats.logistic.ppf(np.clip(generator.beta(*BENCHMARKS[kind], size=size), 1e-6, 1 - 1e-6))
    old, new = (odds + generator.normal(0, SPREAD, size) for _ in range(2))
    return stats.logistic.cdf(old), stats.logistic.cdf(new + shift)


def simulate(kind: str, shift: float, replicates: int) -> Found:
    """Draws two models on the same problems again and again, and compares them each time."""
    generator = np.random.default_rng(20)
    population = rates(generator, kind, (2_000_000,), shift)
    truth = float((population[1] - population[0]).mean()) if shift else 0.0
    chances = rates(generator, kind, (replicates, PROBLEMS), shift)
    old, new = (generator.binomial(SAMPLES, chance) for chance in chances)
    drawn = np.full(PROBLEMS, SAMPLES)
    found = [difference([Paired(a, drawn, b, drawn)]) for a, b in zip(old, new, strict=True)]
    unpaired = stats.ttest_ind(old / SAMPLES, new / SAMPLES, axis=1, equal_var=False).pvalue
    return Found(
        rate=float(population[0].mean()),
        truth=truth,
        covered=float(np.mean([one.low <= truth <= one.high for one in found])),
        paired=float(np.mean([one.p_value <= 0.05 for one in found])),
        unpaired=float(np.mean(unpaired <= 0.05)),
        one_sided=float(np.mean([one.p_worse <= 0.05 for one in found])),
    )


@pytest.mark.parametrize("kind", BENCHMARKS)
def test_alike_models_are_told_apart_in_five_percent_of_cases_at_most(kind: str) -> None:
    found = simulate(kind, shift=0.0, replicates=1500)
    assert found.covered >= 0.935
    assert found.paired <= 0.065
    assert found.one_sided <= 0.065


@pytest.mark.parametrize("kind", BENCHMARKS)
def test_a_drop_is_covered_and_seen_more_often_than_by_the_unpaired_test(kind: str) -> None:
    found = simulate(kind, shift=-0.7, replicates=1000)
    # where few problems are ever solved, those that became harder are often not among the 30
    assert (0.9 if kind == "hard" else 0.935) <= found.covered <= 0.995
    assert found.one_sided > found.paired > 2 * found.unpaired


def main() -> None:
    """Prints a row for each benchmark and shift."""
    for kind in BENCHMARKS:
        for shift in (0.0, -0.35, -0.7):
            one = simulate(kind, shift, 5000)
            numbers = (one.rate, one.covered, one.paired, one.one_sided, one.unpaired)
            rate, *shares = (f"{100 * number:.1f}" for number in numbers)
            print(f"| {kind}, {rate} % | {100 * one.truth:+.1f} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
