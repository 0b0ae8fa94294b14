"""`mode="deepscaler"` decides as the original grader, quirks included."""

import json
from pathlib import Path

import pytest

from deepscaler.rewards import is_equivalent


def test_it_agrees_with_the_original_on_labelled_pairs(shared_data: Path) -> None:
    lines = (shared_data / "grader_pairs.jsonl").read_text().splitlines()
    pairs = [json.loads(line) for line in lines]
    agreed = [is_equivalent(p["pred"], p["gold"], mode="deepscaler") == p["deepscaler"] for p in pairs]
    assert sum(agreed) >= 0.99 * len(pairs)


@pytest.mark.parametrize(
    ("answer", "gold", "equal"),
    [
        ("5", "5", True),
        ("5.0", "5", True),
        ("0", "3.61e-10", True),  # a float under 1e-7 is 0
        ("32, 349", "32349", True),
        ("1,000", "1000", True),
        (r"\frac{1}{2}", "0.5", True),
        (r"\dfrac12", r"\frac{1}{2}", True),
        (r"\frac{10}{4}", r"\frac{5}{2}", False),  # not reduced
        (r"7.8\times10^2", "780", False),
        ("2, 1", "1, 2", False),
        ("f(x)=2x", "2x", False),
        ("k=1", "1", True),
        (r"\text{(C)}", "(C)", True),
        (r"2\sqrt{3}", r"\sqrt{12}", True),
        (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", True),
        ("(1, 2)", "(1,2)", True),
        ("(1, 2)", "[1,2]", False),
        ("x+1", "1+x", True),
        ("10 cm", "10", True),
        (r"50\%", "50", True),
        ("1 1/2", "3/2", True),
        ("", "5", False),
    ],
)
def test_quirks(answer: str, gold: str, equal: bool) -> None:
    assert is_equivalent(answer, gold, mode="deepscaler") is equal
