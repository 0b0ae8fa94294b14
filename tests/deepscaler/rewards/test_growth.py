"""Reading takes work in proportion to the text: each rule is fed with 10 to 10,000 of each of its parts, bounds lifted.

Work is counted in calls, which no busy machine changes; what a regex does inside one call is bounded by its pattern,
which is a run of one class of characters or of fixed length.
"""

import asyncio
import gc
import string
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from types import FrameType

import pytest

from deepscaler.rewards import is_equivalent
from deepscaler.rewards.answers import scanner, structure, vocabulary
from deepscaler.rewards.answers.equivalence import compare
from deepscaler.rewards.answers.literals import decide_cheaply
from deepscaler.rewards.answers.spelling import _TABLE

MAX_GROWTH = 16
"""Times the work for ten times the text: sorting, and steps that only a long text takes; a square would be 100."""

CONTEXTS = ("{}", "5 {}", "x={}5", "({})", r"\{{{}\}}", "5, {} 6", r"\text{{{}}}")
CONSTRUCTS = [
    *(r"\text{R} \text{L} ", r"\mathrm{kg} ", r"\abcdef", "5=7", r"\frac{1}{2}", r"\frac12", r"\binom n2", r"\sqrt2"),
    *("x^2", "x_1", "f(x)", "a(b)", "|x|", "(1,2)", r"\{1\}", "{1}", "[1]", "2!", "3:4", "x'", "1 1/2 ", "1/2"),
    *(r"\pm 2", "+1", "-1", "5 cm ", "5 hours ", "5, ", "x=5, ", r"5\text{ cm}, ", "1,000", "1{,}000", "0.333..."),
    *(r"0.\overline{3}", "0.(3) ", r"\begin{pmatrix}1\end{pmatrix}", r"\cup (1,2)", r"x \in [1,2] "),
    *(r"\frac{d x}{d t}", r"\dot x", r"\lfloor x\rfloor ", "½", "²", "₂", "(A) ", "E) 24 ", "52_8 ", "3:30 p.m. "),
    *(r"\frac{\partial f}{\partial x}", r"\partial x ", "answer is ", "the ", r"\hat{i}", "x_1=2, ", "1{:}2", "①"),
    *(r"n, n\in\mathbb{Z} ", "8e8 ", "x<2 ", "x for all x ", "**5** ", '"5" ', r"\\", r"\%", r"\$5 "),
]  # fmt: skip


def parts() -> list[str]:
    """Returns something for every rule: each character, a command and a word of each class, and what they build."""
    commands = [
        value for name, value in vars(vocabulary).items() if name.isupper() and isinstance(value, frozenset | dict)
    ]
    members = [sorted(str(member) for member in members)[-1] for members in commands]
    members += [f"\\{member}" if member.isascii() and member.isalpha() else member for member in members]
    unicode = sorted(_TABLE)[:: max(1, len(_TABLE) // 12)]
    return [*dict.fromkeys([*string.punctuation, "1", "x", " ", *CONSTRUCTS, *(f"{m} " for m in members), *unicode])]


def work(text: str) -> int:
    """Returns the calls that it takes to compare a text as an answer and as a gold."""
    scanner.tokenize.cache_clear()
    structure._read.cache_clear()
    calls = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        compare(text, "x+1", decide_cheaply)
        compare("42", text, decide_cheaply)
    finally:
        sys.setprofile(None)
    return calls


@pytest.fixture
def unbounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(scanner, "MAX_LENGTH", 10**9)
    yield
    scanner.tokenize.cache_clear()
    structure._read.cache_clear()


def assert_linear(part: str, context: str, sizes: tuple[int, ...]) -> None:
    calls = [work(context.format(part * size)) for size in sizes]
    for smaller, larger in pairwise(calls):
        assert larger <= MAX_GROWTH * smaller + 1000, (part, context, calls)


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_rule_takes_linear_work(context: str, unbounded: None) -> None:
    for part in parts():
        assert_linear(part, context, (20, 200) if context == "{}" else (10, 100))


@pytest.mark.long
@pytest.mark.parametrize("context", CONTEXTS)
def test_every_rule_takes_linear_work_at_any_length(context: str, unbounded: None) -> None:
    for part in parts():
        assert_linear(part, context, (10, 100, 1000, 10_000) if context == "{}" else (100, 1000))


def test_the_event_loop_is_never_silent() -> None:
    """The worst that fits into the bounds, all at once in threads, as verl's reward loop grades.

    The process's own processor time is measured: it runs while a thread keeps the interpreter, and stands still while
    other processes have the cores.
    """
    hostile = [(context.format(part * 4000))[:4000] for context in CONTEXTS for part in CONSTRUCTS][::9]
    hostile += [", ".join(f"{letter}^{i}+{i}" for i in range(195)) for letter in "xyz"]

    async def silence() -> float:
        longest, last = 0.0, time.process_time()
        grading = asyncio.gather(*(asyncio.to_thread(is_equivalent, text, "x^2+1, x", timeout=0.1) for text in hostile))
        while not grading.done():
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.process_time() - last), time.process_time()
        await grading
        return longest

    is_equivalent(r"\sqrt{8}", r"2\sqrt{2}")  # the workers are up
    gc.freeze()  # a whole collection takes a second in a process that has run a thousand tests
    try:
        assert asyncio.run(silence()) < 1.0
    finally:
        gc.unfreeze()
