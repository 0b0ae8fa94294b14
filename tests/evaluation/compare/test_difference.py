"""The statistics of a comparison, against scipy, by hand, and by brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evaluation.compare import signs
from evaluation.compare.difference import difference, holm, verdict
from evaluation.compare.paired import Counts, Paired
from evaluation.compare.signs import flip_signs

counts = st.integers(1, 4).flatmap(lambda drawn: st.tuples(st.integers(0, drawn), st.just(drawn)))
pairs = st.lists(st.tuples(counts, counts), min_size=1, max_size=6)


def paired(*rows: tuple[int, int], drawn: int = 16) -> Paired:
    return Paired.of([(old, drawn) for old, _ in rows], [(new, drawn) for _, new in rows])


MIXED = paired(*((old, min(16, old + step)) for old, step in zip(range(15), itertools.cycle((8, 1, 0)), strict=False)))


def test_interval_and_p_value_are_those_of_a_paired_t_test() -> None:
    found = difference([MIXED])
    expected = stats.ttest_rel(MIXED.after, MIXED.before)
    assert found.p_value == pytest.approx(max(expected.pvalue, flip_signs([MIXED])[0]))
    low, high = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.lower_bound == pytest.approx(
        stats.ttest_rel(MIXED.after, MIXED.before, alternative="greater").confidence_interval(0.95).low
    )
    assert found.value == pytest.approx(found.after - found.before)
    assert found.effect_size == pytest.approx(expected.statistic / np.sqrt(MIXED.num_problems))


def test_a_drop_mirrors_a_rise() -> None:
    there, back = difference([MIXED]), difference([Paired(*(getattr(MIXED, name) for name in REVERSED))])
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert back.p_value == pytest.approx(there.p_value)
    assert back.p_worse < 0.05 < there.p_worse


REVERSED = ("correct_after", "drawn_after", "correct_before", "drawn_before")


@given(pairs)
def test_the_exact_test_counts_all_flips_of_signs(rows: list[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    pair = Paired.of([old for old, _ in rows], [new for _, new in rows])
    seen = pair.differences.sum()
    sums = [np.dot(flips, pair.differences) for flips in itertools.product((1, -1), repeat=len(rows))]
    two_sided, worse = flip_signs([pair])
    assert two_sided == pytest.approx(np.mean(np.abs(sums) >= abs(seen) - 1e-9))
    assert worse == pytest.approx(np.mean(np.array(sums) <= seen + 1e-9))


def test_where_the_grid_is_too_fine_signs_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = flip_signs([MIXED])
    monkeypatch.setattr(signs, "MAX_CELLS", 0)
    assert flip_signs([MIXED]) == pytest.approx(exact, abs=0.01)
    assert flip_signs([MIXED]) == flip_signs([MIXED])
    assert flip_signs([MIXED] * 100) == (0, 0)


def test_with_one_sample_a_problem_it_is_mcnemars_test() -> None:
    rows = [(0, 1)] * 9 + [(1, 0)] * 2 + [(1, 1)] * 20 + [(0, 0)] * 5
    assert flip_signs([paired(*rows, drawn=1)])[0] == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert difference([paired(*rows, drawn=1)]).within is None


def test_four_of_thirty_problems_do_not_suffice_though_students_t_says_so() -> None:
    pair = paired(*[(0, 16)] * 4, *[(0, 0)] * 26)
    assert stats.ttest_rel(pair.after, pair.before).pvalue < 0.05
    assert difference([pair]).p_value == pytest.approx(2 * 0.5**4)


@pytest.mark.parametrize("solved", [0, 16])
def test_models_that_nothing_tells_apart_have_an_interval(solved: int) -> None:
    found = difference([paired(*[(solved, solved)] * 30)])
    assert found.value == 0
    assert found.p_value == 1
    assert -found.low == found.high > 0.05  # the next of 30 problems may differ by all
    many = difference([paired(*[(solved, solved)] * 500)])
    assert many.high < 0.005


def test_even_steps_have_the_noise_of_their_samples_at_least() -> None:
    """All problems rise by one sample: the variance between them is 0, and so would be the interval's width."""
    pair = paired(*[(8, 9)] * 30)
    assert pair.differences.var() == 0
    found = difference([pair])
    assert found.low < 0 < found.high
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, 29) * np.sqrt(2 * 0.25 / 16 / 30), rel=0.02)


def test_benchmarks_weigh_the_same_whatever_their_size() -> None:
    small, large = paired(*[(4, 12), (6, 10), (2, 9)]), paired(*[(8, 8), (8, 9), (8, 7)] * 100)
    both = difference([small, large])
    one, other = difference([small]), difference([large])
    assert both.value == pytest.approx((one.value + other.value) / 2)
    assert both.standard_error == pytest.approx(np.hypot(one.standard_error, other.standard_error) / 2)
    freedom = (both.high - both.value) / both.standard_error
    assert stats.t.ppf(0.975, 300) < freedom < stats.t.ppf(0.975, 1.9)  # Welch's lie between
    assert difference([MIXED, MIXED]).value == pytest.approx(difference([MIXED]).value)
    assert difference([MIXED, MIXED]).effect_size == pytest.approx(difference([MIXED]).effect_size)


@pytest.mark.parametrize("benchmarks", [[MIXED], [MIXED, MIXED]])
def test_parts_of_the_variance_add_up_to_it(benchmarks: list[Paired]) -> None:
    found = difference(benchmarks)
    assert found.between is not None
    assert found.within is not None
    assert (found.between + found.within) / found.num_problems == pytest.approx(found.standard_error**2)
    noise = np.mean([r * (1 - r) * 16 / 15 for r in (*MIXED.before, *MIXED.after)]) * 2
    assert found.noise == pytest.approx(noise)
    assert found.within == pytest.approx(noise / 16)


def test_what_is_needed_is_what_scipy_needs() -> None:
    found = difference([MIXED])
    size = found.problems_needed(0.05)
    reach = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert reach * MIXED.variance**0.5 / size**0.5 <= 0.05 < reach * MIXED.variance**0.5 / (size - 1) ** 0.5
    assert found.smallest == pytest.approx(reach * found.standard_error)
    assert found.smallest_drop < found.smallest
    assert found.samples_needed(0.001) is None  # problems differ by more than any number of samples could show
    few = found.samples_needed(found.smallest * 1.01)
    assert few is not None
    assert few <= 16


def test_holm_adjusts_as_the_textbook_does() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("rows", "margin", "expected"),
    [
        ([(4, 9), (2, 8), (0, 6)] * 10, 0.02, "better"),
        ([(9, 4), (8, 2), (6, 0)] * 10, 0.02, "worse"),
        ([(8, 9), (8, 7)] * 15, 0.2, "no difference shown"),
        ([(8, 9), (8, 7)] * 15, 0.02, "not enough evidence"),
    ],
)
def test_verdicts(rows: Counts, margin: float, expected: str) -> None:
    found = difference([paired(*rows)])
    assert verdict(found, found.p_value, margin) == expected
