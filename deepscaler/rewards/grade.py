"""The grader's two entry points. See the package for examples."""

import os
import re
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from deepscaler.rewards.algebra import original
from deepscaler.rewards.answers.equivalence import compare
from deepscaler.rewards.answers.literals import decide_cheaply
from deepscaler.rewards.answers.tokens import MAX_LENGTH
from deepscaler.rewards.extract import after_thinking, last_boxed
from deepscaler.rewards.workers.pool import Outcome, shared_pool

Golds = str | float | Iterable[str | float]
"""One gold, or several of which any will do; a data set may hold them as numbers."""

Reason = Literal["correct", "wrong", "no_box", "no_think_end", "timeout", "worker_died"]
Mode = Literal["kit", "deepscaler"]

DEFAULT_TIMEOUT = 3.0
"""Seconds of work on one comparison."""

_REASONS: dict[Outcome, Reason] = {
    "equal": "correct",
    "different": "wrong",
    "timeout": "timeout",
    "worker_died": "worker_died",
}


_QUOTED = re.compile(r"""(?<=['"])[^'",\[\]]+(?=['"])""")
_QUOTED_LIST = re.compile(r"""\[\s*(?:'[^'"\[\]]*'|"[^'"\[\]]*")(?:\s*,\s*(?:'[^'"\[\]]*'|"[^'"\[\]]*"))*\s*\]""")
_reading = threading.Lock()
"""Held while a text is read, which is work in Python: of thirty threads that all want the interpreter, an event loop
beside them gets every thirtieth turn."""

_SEVERITY: tuple[Outcome, ...] = ("different", "worker_died", "timeout", "equal")


@dataclass(frozen=True, slots=True)
class Grade:
    """The verdict on one response."""

    correct: bool
    answer: str | None
    """What was boxed; None without a box."""
    reason: Reason
    """Why: `no_think_end` was cut off while thinking, `timeout` and `worker_died` could not be decided."""


def is_equivalent(answer: str, gold: str, *, mode: Mode = "kit", timeout: float = DEFAULT_TIMEOUT) -> bool:
    """Whether an answer says the same as a gold. Never raises; False if that could not be shown in `timeout` seconds.

    `mode="deepscaler"` decides as DeepScaleR's original grader did, for comparison with published numbers.
    """
    return _decide(answer, gold, mode, timeout) == "equal"


def grade(
    response: str,
    golds: Golds,
    *,
    thinking: bool = True,
    mode: Mode = "kit",
    timeout: float = DEFAULT_TIMEOUT,
) -> Grade:
    r"""Grade a whole response: correct if its last `\boxed{}` after the last `</think>` equals any of the golds.

    `thinking=False` is for models that do not think; otherwise a response without `</think>` was cut off and is wrong.
    """
    text = after_thinking(response) if thinking else response
    if text is None:
        return Grade(False, None, "no_think_end")
    answer = last_boxed(text)
    if answer is None:
        return Grade(False, None, "no_box")
    outcomes: list[Outcome] = []
    for gold in listed_golds(golds):
        outcomes.append(_decide(answer, gold, mode, timeout))
        if outcomes[-1] == "equal":
            break
    worst: Outcome = max(outcomes, key=_SEVERITY.index, default="different")
    return Grade(worst == "equal", answer, _REASONS[worst])


def listed_golds(golds: Golds) -> list[str]:
    """Returns golds as texts: data sets hold numbers (5.0) and lists that have become a string (`['12', '33']`)."""
    if isinstance(golds, str):
        return _QUOTED.findall(golds) if len(golds) <= MAX_LENGTH and _QUOTED_LIST.fullmatch(golds) else [golds]
    if isinstance(golds, Iterable):
        return [str(gold) for gold in golds]
    return [str(golds)]


def hard_case_counts() -> Counter[str]:
    """How the comparisons that left this process ended: equal, different, timeout, worker_died."""
    return Counter(shared_pool().counts)


def _decide(answer: str, gold: str, mode: Mode, timeout: float) -> Outcome:
    answer, gold = _printable(answer), _printable(gold)
    with _reading:
        verdict = original.cheap(answer, gold) if mode == "deepscaler" else compare(answer, gold, decide_cheaply)
    if verdict is not None:
        return "equal" if verdict else "different"
    return shared_pool().compare(mode, answer, gold, timeout)


def _printable(text: str) -> str:
    """Without what no JSON line can carry (lone surrogates) and no answer contains (control characters)."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text.encode("utf-8", "replace").decode())


def _renew_lock() -> None:
    global _reading  # noqa: PLW0603  a fork may have copied it held
    _reading = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
