"""`--until`: unbiased, as sure as it says, cheaper than equal numbers, and the same decisions after a kill."""

import numpy as np
import pytest

from evaluation.until import LEAST_FIRST, Counts, Halves, estimate, first_samples, halves_of, numbers_of, plan

Drawn = dict[str, Halves]


def draw(rates: "np.ndarray[tuple[int], np.dtype[np.float64]]", num_samples: int, seed: int) -> Drawn:
    """All outcomes that there are to see, of problems with these pass rates."""
    outcomes = np.random.default_rng(seed).random((len(rates), num_samples)) < rates[:, None]
    return {str(index): (row[0::2].tolist(), row[1::2].tolist()) for index, row in enumerate(outcomes)}


def seen(everything: Drawn, counts: dict[str, Counts]) -> Drawn:
    return {p: (even[: counts[p][0]], odd[: counts[p][1]]) for p, (even, odd) in everything.items()}


def run(everything: Drawn, num_samples: int, half_width: float) -> tuple[Drawn, list[dict[str, Counts]]]:
    """Draws what is asked for until nothing is; returns it, and the plans."""
    drawn: Drawn = {problem: ([], []) for problem in everything}
    plans: list[dict[str, Counts]] = []
    while not plans or plans[-1] != plan(drawn, num_samples, half_width):
        plans.append(plan(drawn, num_samples, half_width))
        drawn = seen(everything, plans[-1])
    return drawn, plans


def half_width_of(drawn: Drawn, half_width: float) -> float:
    _, interval = estimate(drawn, half_width)
    return (interval.high - interval.low) / 2


@pytest.mark.parametrize(("a", "b"), [(0.3, 3.0), (0.4, 0.6)])
def test_the_estimate_is_unbiased_and_covers_the_truth(a: float, b: float) -> None:
    """Hard problems are where stopping after bad luck biases most: the plain mean shows it, the mean of halves none."""
    generator = np.random.default_rng(5)
    errors, plain, covered, trials = [], [], 0, 250
    for seed in range(trials):
        rates = generator.beta(a, b, size=30)
        drawn, _ = run(draw(rates, 64, seed), 64, 0.025)
        _, interval = estimate(drawn, 0.025)
        errors.append(interval.value - rates.mean())
        plain.append(np.mean([np.mean(even + odd) for even, odd in drawn.values()]) - rates.mean())
        covered += interval.low <= rates.mean() <= interval.high
    error = np.std(errors) / trials**0.5
    assert abs(np.mean(errors)) < 3 * error
    assert 0.91 <= covered / trials <= 0.99
    if a < b / 2:
        assert np.mean(plain) < -3 * error


def test_it_stops_when_the_interval_is_narrow_enough_and_saves_against_equal_numbers() -> None:
    rates = np.random.default_rng(1).beta(0.2, 0.3, size=60)
    used, equal = 0, 0.0
    for seed in range(20):
        drawn, plans = run(draw(rates, 512, seed), 512, 0.01)
        assert half_width_of(drawn, 0.01) <= 0.01
        assert 2 <= len(plans) <= 8
        used += sum(len(half) for halves in drawn.values() for half in halves)
        equal += float((rates * (1 - rates)).mean()) * (1.96 / 0.01) ** 2
    assert used < 0.95 * equal


def test_it_draws_everything_where_that_is_not_enough() -> None:
    everything = draw(np.full(10, 0.5), 15, 0)
    drawn, _ = run(everything, 15, 0.01)
    assert drawn == everything


def test_more_goes_to_the_problems_that_are_uncertain() -> None:
    num_first = first_samples(40, 0.02)
    certain, mixed = [True] * num_first, ([True, False] * num_first)[:num_first]
    halves = {number: (mixed, mixed) if number % 2 else (certain, certain) for number in range(40)}
    counts = plan({str(number): both for number, both in halves.items()}, 4000, 0.02)
    assert counts["0"] == counts["2"]
    assert counts["1"][0] > 1.5 * counts["0"][0]


def test_a_half_is_decided_by_the_other_one() -> None:
    mixed = ([False, True, False, True], [True] * LEAST_FIRST)
    others = {"x": ([True] * LEAST_FIRST, [True] * LEAST_FIRST), "y": ([False] * LEAST_FIRST, [False] * LEAST_FIRST)}
    counts = plan({"a": mixed, **others}, 1000, 0.1)
    assert counts["a"][1] > counts["a"][0], "the even half looks uncertain, so the odd one gets more"


def test_decisions_are_the_same_whatever_else_is_on_disk() -> None:
    """A command that was killed in a round has some of its samples; one that asked for more before has others."""
    rates = np.random.default_rng(2).beta(0.4, 0.6, size=60)
    found = (
        (everything, run(everything, 128, 0.02)[1]) for everything in (draw(rates, 128, seed) for seed in range(20))
    )
    everything, plans = next(one for one in found if len(one[1]) > 2)
    half_done = seen(everything, plans[1])
    for problem in list(half_done)[30:]:
        half_done[problem] = seen(everything, plans[0])[problem]
    assert plan(half_done, 128, 0.02) == plans[1]
    assert plan(everything, 128, 0.02) == plans[-1]


def test_halves_are_the_even_and_the_odd_numbers() -> None:
    assert halves_of({0: True, 1: False, 2: False, 3: True, 6: True}) == ([True, False], [False, True])
    assert numbers_of((3, 1)) == [0, 1, 2, 4]


def test_all_right_and_all_wrong_are_not_certain() -> None:
    for outcome in (True, False):
        assert (
            half_width_of({str(n): ([outcome] * LEAST_FIRST, [outcome] * LEAST_FIRST) for n in range(30)}, 0.05) > 0.005
        )
