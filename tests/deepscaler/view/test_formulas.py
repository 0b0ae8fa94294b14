r"""Formulas become MathML as plain lists: found without backtracking, and made of nothing but what is allowed."""

import time
from typing import Any

import pytest

from deepscaler.view.formulas import ATTRIBUTES, ELEMENTS, MAX_DEPTH, formulas, tree_of, trees


def walk(tree: list[Any]) -> list[list[Any]]:
    return [tree, *(found for child in tree[2:] if isinstance(child, list) for found in walk(child))]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"a $x$ b \(y\) c", ["x", "y"]),
        ("$$x$$ and \\[ y\nz \\]", ["\tx", "\t y\nz "]),
        (r"it is \boxed{\frac{1}{2}}.", [r"\boxed{\frac{1}{2}}"]),
        (r"$\boxed{3}$", [r"\boxed{3}"]),
        ("costs $5 and $6", []),
        ("costs $ 5 and 6 $", []),
        ("$a\nb$", []),
        (r"\( never ends \( x \)", [" x "]),
        ("no formula", []),
    ],
)
def test_formulas_are_found(text: str, found: list[str]) -> None:
    assert formulas(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "$" * 1_000_001,
        r"\(" * 500_000,
        r"\[x" * 300_000,
        r"\boxed{" * 150_000,
        r"\boxed{a{b}" * 100_000,
        "$x" * 500_000,
    ],
    ids=["dollars", "parentheses", "brackets", "boxes", "braces", "open"],
)
def test_the_search_takes_time_in_proportion_to_the_text(text: str) -> None:
    started = time.process_time()
    formulas(text)
    assert time.process_time() - started < 3


def test_a_fraction_becomes_elements() -> None:
    tree = tree_of(r"\frac{1}{2}")
    assert tree is not None
    assert [found[0] for found in walk(tree)].count("mn") == 2
    assert ["mo", {}, "\u2264"] in walk(tree_of(r"a \le b") or [])


@pytest.mark.parametrize(
    "latex",
    [
        r"\href{javascript:alert(1)}{x}",
        r"\style{position:fixed}{x}",
        r"\class{evil}{x}",
        r"\text{<script>alert(1)</script>}",
        r"\text{&lt;script&gt;}",
        r"\color{red}{x}",
        r"</math><script>",
    ],
)
def test_only_allowed_elements_and_attributes_are_left(latex: str) -> None:
    for found in walk(tree_of(latex) or ["math", {}]):
        assert found[0] in ELEMENTS
        assert set(found[1]) <= ATTRIBUTES


@pytest.mark.parametrize(
    "latex",
    [
        "",
        "  ",
        r"\frac",
        r"\sqrt{" * 400 + "1" + "}" * 400,
        r"{" * 900,
        "x" * 100_000,
        r"x_{" * MAX_DEPTH + "1" + "}" * MAX_DEPTH,
    ],
)
def test_what_is_no_latex_or_too_much_of_it_stays_text(latex: str) -> None:
    assert tree_of(latex) is None


def test_trees_are_made_once_and_no_more_than_asked_for() -> None:
    found = trees(["$x$ $x$ $y$", r"$\frac$ $z$"], at_most=3)
    assert set(found) == {"x", "y"}  # the broken one counts, and z comes too late
