"""Reading an answer changes its spelling once and for all, never a number, and never raises."""

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deepscaler.rewards.answers import vocabulary
from deepscaler.rewards.answers.equivalence import compare
from deepscaler.rewards.answers.literals import canonical, decide_cheaply
from deepscaler.rewards.answers.numbers import literal
from deepscaler.rewards.answers.scanner import tokenize
from deepscaler.rewards.answers.structure import read
from deepscaler.rewards.answers.tokens import MAX_DEPTH, MAX_LENGTH, UnreadableError

COMMANDS = [f"\\{name} " for name in (*vocabulary.ALIASES, *vocabulary.IGNORED, *vocabulary.TEXTS, *vocabulary.SPACES)]
COMMANDS += [
    f"{name} " for name in sorted(vocabulary.FUNCTIONS | dict.fromkeys(vocabulary.PENDING | vocabulary.NO_VALUES))
]
WORDS = ["cm", "for all ", "or", "and", "million", "percent", "is", "not", "p.m.", "zebras", "base ", "if"]
CHARACTERS = [*"{}()[]^_,;. $%=+-xy12²½°|!:'\"<>&/*", "37", "\\{", "\\}", "\\text{", "\\begin{cases}", "\\end{cases}"]
LATEX = st.lists(st.sampled_from([*COMMANDS, *WORDS, *CHARACTERS]), max_size=30).map("".join)
WORDS_OF_QUANTITY = sorted(vocabulary.DENIALS | set(vocabulary.SCALES))


def number_of(text: str) -> Fraction | None:
    found = literal(read(text)[0])
    return found.value if found else None


@given(LATEX | st.text(max_size=40), st.sampled_from(["42", "x+1", "(1,2)", "5\\text{ cm}", "x>2", "\\{1,2\\}"]))
@settings(max_examples=600, deadline=None)
@example(r"\frac\frac\frac", "42")
@example("5!!!!!!!!!!", "42")
def test_no_text_raises_and_every_text_equals_itself(text: str, gold: str) -> None:
    assert compare(text, gold, decide_cheaply) in (True, False, None)
    assert compare(gold, text, decide_cheaply) in (True, False, None)
    assert compare(text, text, decide_cheaply) is bool(_tokens(text))


def _tokens(text: str) -> object:
    try:
        return tokenize(text)
    except UnreadableError:
        return text.strip()


@pytest.mark.parametrize(
    "part", ["(", "{", r"\{", r"\frac{", r"\sqrt", r"\frac", "x^", r"\text{", "|", r"\sin ", "-", r"\sum "]
)
def test_what_is_too_deep_or_too_long_is_wrong_and_does_not_raise(part: str) -> None:
    for number in (MAX_DEPTH, 495, 5000, 100_000):
        assert compare(part * number, "5", decide_cheaply) is not True
        assert compare(part * number + "1" + "}" * number, "5", decide_cheaply) is not True
    assert compare("1" * (MAX_LENGTH + 1), "1" * MAX_LENGTH, decide_cheaply) is False


@given(st.fractions(max_denominator=10**6))
def test_fractions_read_back_exactly(value: Fraction) -> None:
    sign = "-" if value < 0 else ""
    top, bottom = abs(value.numerator), value.denominator
    for text in (
        f"{value.numerator}/{bottom}",
        rf"{sign}\dfrac{{{top}}}{{{bottom}}}",
        rf"$\frac {{{value.numerator}}}{bottom if bottom < 10 else f'{{{bottom}}}'}$",
    ):
        assert number_of(text) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9))
def test_decimals_read_back_exactly(value: object) -> None:
    assert number_of(f" ${value}$ ") == Fraction(str(value))


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_thousands_separators_do_not_matter(value: int) -> None:
    for separator in (",", r",\!", "{,}", " ", r"\,", r"\ ", ""):
        assert number_of(f"{value:,}".replace(",", separator)) == value


@given(
    st.integers(min_value=0, max_value=10**6),
    st.integers(min_value=1, max_value=6),
    st.integers(min_value=1, max_value=3),
)
def test_repeating_decimals_are_exact(number: int, size: int, repeats: int) -> None:
    period = str(number % 10**size).zfill(size)
    expected = Fraction(int(period), 10**size - 1)
    for text in (rf"0.\overline{{{period}}}", f"0.({period})", rf"0.\overline{{{period * repeats}}}"):
        assert number_of(text) == expected


@pytest.mark.parametrize("word", WORDS_OF_QUANTITY)
def test_a_word_of_quantity_or_doubt_after_a_number_is_never_dropped(word: str) -> None:
    for text in (
        rf"12\text{{ {word}}}",
        rf"12\text{{ {word} three}}",
        f"12 {word}",
        rf"\text{{{word} }}12",
        rf"12\text{{ cm {word}}}",
    ):
        assert compare(text, "12", decide_cheaply) is not True, text


@pytest.mark.parametrize(
    ("written", "other"),
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
        ("1⅔", r"1\frac{2}{3}"),
        ("101₂", "101_2"),
    ],
)
def test_spellings(written: str, other: str) -> None:
    assert canonical(read(written)[0]) == canonical(read(other)[0])
