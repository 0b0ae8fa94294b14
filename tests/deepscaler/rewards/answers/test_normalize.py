"""Normalisation changes the spelling, once and for all, and never a number."""

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deepscaler.rewards.answers.equivalence import compare
from deepscaler.rewards.answers.literals import decide_cheaply
from deepscaler.rewards.answers.normalize import normalize
from deepscaler.rewards.answers.numbers import parse_number
from deepscaler.rewards.answers.structure import parse_form

COMMANDS = [r"\frac", r"\dfrac", r"\sqrt", r"\left", r"\right", r"\text", r"\pi", r"\cdot", r"\!", r"\,", r"\\"]
LATEX = st.lists(st.sampled_from([*COMMANDS, *"{}()[]^_,;. $%=+-xy12²½°", "37"]), max_size=25).map("".join)


@given(LATEX | st.text(max_size=40))
@settings(max_examples=400, deadline=None)
@example(r"$\dfrac12$.")
@example(r"\left\left((")
def test_it_is_idempotent(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once


@given(LATEX | st.text(max_size=40))
@settings(max_examples=400, deadline=None)
def test_cheap_comparison_never_raises_and_is_reflexive(text: str) -> None:
    parse_form(normalize(text))
    assert compare(text, text, decide_cheaply) is True


@given(st.fractions(max_denominator=10**6))
def test_fractions_read_back_exactly(value: Fraction) -> None:
    sign = "-" if value < 0 else ""
    for text in (
        f"{value.numerator}/{value.denominator}",
        rf"{sign}\dfrac{{{abs(value.numerator)}}}{{{value.denominator}}}",
    ):
        number = parse_number(normalize(text))
        assert number is not None
        assert number.value == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9))
def test_decimals_read_back_exactly(value: object) -> None:
    number = parse_number(normalize(f" ${value}$ "))
    assert number is not None
    assert number.value == Fraction(str(value))


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_thousands_separators_do_not_matter(value: int) -> None:
    for text in (f"{value:,}", f"{value:,}".replace(",", r",\!"), f"{value:,}".replace(",", "{,}"), str(value)):
        number = parse_number(normalize(text))
        assert number is not None
        assert number.value == value


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        (r"\dfrac12", r"\frac{1}{2}"),
        (r"\frac1{72}", r"\frac{1}{72}"),
        (r"\sqrt3", r"\sqrt{3}"),
        ("x²", "x^2"),
        (r"\left( 1,\ 2 \right)", "( 1, 2 )"),
        (r"\\frac{1}{2}", r"\frac{1}{2}"),
        (r"\boxed{5}", "5"),
        (r"\[ 5 \]", "5"),
        ("185\\", "185"),
        (r"x \leq 5", r"x \le 5"),
        (r"7^\frac{1}{2}", r"7^{\frac{1}{2}}"),
    ],
)
def test_spellings(written: str, canonical: str) -> None:
    assert normalize(written) == canonical
