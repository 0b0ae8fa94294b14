"""Tests paired differences exactly, assuming only that both signs are equally likely if the models are alike."""

import math
from collections.abc import Sequence

import numpy as np

from evaluation.compare.paired import Paired

MAX_CELLS = 200_000_000
"""Most cells of the distribution; the grid gets too fine if problems have many different numbers of samples."""

NUM_DRAWN, FEW = 20_000, 200
"""Random choices of signs on too fine a grid, for at most FEW problems; with more problems, t is accurate enough."""


def flip_signs(benchmarks: Sequence[Paired]) -> tuple[float, float]:
    """Returns the p-values, two-sided and of a drop; zeros for hundreds of problems on too fine a grid.

    If both models were alike, each problem's difference would have either sign with the same chance. The function
    builds the distribution of the sum over all 2^n choices of signs problem by problem, on the grid of the counts, so
    it is exact.
    """
    # Every difference is a multiple of 1 / denominator, so sums of them stay on a grid of integers.
    denominator = math.lcm(*(
        int(a) * int(b) * one.num_problems
        for one in benchmarks
        for a, b in {*zip(one.drawn_before.tolist(), one.drawn_after.tolist(), strict=True)}
    ))  # fmt: skip
    steps = [
        (right * a - left * b) * (denominator // (int(a) * int(b) * one.num_problems))
        for one in benchmarks
        for left, a, right, b in zip(
            one.correct_before.tolist(),
            one.drawn_before.tolist(),
            one.correct_after.tolist(),
            one.drawn_after.tolist(),
            strict=True,
        )
        if right * a != left * b
    ]
    # The coarsest grid that holds all steps needs the fewest cells.
    unit = math.gcd(*steps) or 1
    steps = [step // unit for step in steps]
    reach = sum(map(abs, steps))
    if reach * len(steps) > MAX_CELLS:
        return _draw_signs([step / reach for step in steps]) if len(steps) <= FEW else (0.0, 0.0)
    # Each problem shifts the distribution by +step and by -step with equal chance.
    chances = np.ones(1)
    for step in map(abs, steps):
        gap = np.zeros(2 * step)
        chances = (np.concatenate([chances, gap]) + np.concatenate([gap, chances])) / 2
    sums = np.arange(-reach, reach + 1)
    seen = sum(steps)
    return min(1.0, float(chances[np.abs(sums) >= abs(seen)].sum())), min(1.0, float(chances[sums <= seen].sum()))


def _draw_signs(steps: Sequence[float]) -> tuple[float, float]:
    """Returns the p-values over random choices of signs, the same ones every time, plus the observed one."""
    # With the observed choice among them (the + 1 below), a p-value is never 0 and the test keeps its level.
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(NUM_DRAWN, len(steps)))
    # Floats that were added in another order differ in their last digits, and must count as equal.
    sums, seen, least = signs @ np.array(steps), sum(steps), 1e-9
    two_sided = np.sum(np.abs(sums) >= abs(seen) - least)
    return float(two_sided + 1) / (NUM_DRAWN + 1), float(np.sum(sums <= seen + least) + 1) / (NUM_DRAWN + 1)
