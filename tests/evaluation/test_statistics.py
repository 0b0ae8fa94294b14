"""The numbers of a report, against brute force and simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.statistics import ks, majority_at_n, pass_at_1, pass_at_k

rows = st.lists(st.booleans(), min_size=1, max_size=7)


@given(rows, st.data())
def test_pass_at_k_is_the_share_of_k_subsets_with_a_hit(row: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(row)))
    subsets = list(itertools.combinations(row, k))
    assert pass_at_k([row], k) == pytest.approx(sum(any(subset) for subset in subsets) / len(subsets))


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=20))
def test_pass_at_one_of_both_kinds_agrees(outcomes: list[list[bool]]) -> None:
    interval = pass_at_1(outcomes)
    assert interval.value == pytest.approx(pass_at_k(outcomes, 1))
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low < interval.high


def test_more_tries_than_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="pass@8 needs at least 8 samples per problem, there are 4"):
        pass_at_k([[True] * 4], 8)


def test_k_goes_by_powers_of_two_up_to_n() -> None:
    assert ks(16) == [1, 2, 4, 8, 16]
    assert ks(12) == [1, 2, 4, 8, 12]
    assert ks(1) == [1]


@pytest.mark.parametrize(
    ("num_problems", "num_samples", "a", "b"),
    [
        *[(30, 16, 0.4, 0.6), (83, 16, 0.4, 0.6), (272, 4, 0.4, 0.6), (30, 1, 0.4, 0.6)],
        *[(3, 16, 2.0, 2.0), (5, 64, 5.0, 5.0), (10, 64, 10.0, 10.0)],
    ],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(
    num_problems: int, num_samples: int, a: float, b: float
) -> None:
    generator = np.random.default_rng(0)
    covered, trials = 0, 600
    for _ in range(trials):
        difficulty = generator.beta(a, b, size=num_problems)  # below 1: most are nearly always or never solved
        outcomes = generator.random((num_problems, num_samples)) < difficulty[:, None]
        interval = pass_at_1(outcomes.tolist())
        covered += interval.low <= a / (a + b) <= interval.high
    assert 0.925 <= covered / trials <= 0.998


def test_a_little_difference_between_problems_changes_the_interval_little() -> None:
    even = pass_at_1([[True, False] * 8] * 30)
    uneven = pass_at_1([[True, False] * 8] * 29 + [[True] * 9 + [False] * 7])
    assert even.low == pytest.approx(uneven.low, abs=0.01)
    assert even.high == pytest.approx(uneven.high, abs=0.01)


def test_samples_of_one_problem_are_not_counted_as_independent() -> None:
    alike = pass_at_1([[True] * 16] * 12 + [[False] * 16] * 18)
    mixed = pass_at_1([[True] * solved + [False] * (16 - solved) for solved in (5, 6, 7) for _ in range(10)])
    assert alike.high - alike.low > 2 * (mixed.high - mixed.low)
    assert alike.high - alike.low == pytest.approx(pass_at_1([[True]] * 12 + [[False]] * 18).high - alike.low, abs=0.02)


def test_zero_and_all_have_a_width() -> None:
    assert pass_at_1([[False] * 16] * 30).high > 0.05
    assert pass_at_1([[True] * 16] * 30).low < 0.95


def test_majority_needs_the_most_frequent_answer_to_be_right() -> None:
    assert majority_at_n([["a", "a", "b"]], [[True, True, False]]) == 1
    assert majority_at_n([["a", "b", "b"]], [[True, False, False]]) == 0
    assert majority_at_n([["a", "b", None, None]], [[True, False, False, False]]) == 0.5
    assert majority_at_n([[None, None]], [[False, False]]) == 0


def test_few_problems_get_students_quantile() -> None:
    """One problem always and one never solved have Wilson's interval with t = 12.7062 (one degree of freedom)."""
    interval = pass_at_1([[True] * 4, [False] * 4])
    t, draws = 12.7062, 2.0
    half = t / (1 + t * t / draws) * (0.25 / draws + t * t / (4 * draws * draws)) ** 0.5
    assert interval.low == pytest.approx(0.5 - half, abs=1e-6)
    assert interval.high == pytest.approx(0.5 + half, abs=1e-6)
