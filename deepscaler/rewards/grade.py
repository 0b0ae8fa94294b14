"""Defines the grader's two entry points. See the package for examples."""

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
"""One gold, or several of which an answer must match any; a data set may hold them as numbers."""

Reason = Literal["correct", "wrong", "no_box", "no_think_end", "timeout", "worker_died"]
Mode = Literal["kit", "deepscaler"]

DEFAULT_TIMEOUT = 3.0
"""Most seconds of processor time for one comparison."""

_REASONS: dict[Outcome, Reason] = {
    "equal": "correct",
    "different": "wrong",
    "timeout": "timeout",
    "worker_died": "worker_died",
}


_QUOTED = re.compile(r"""(?<=['"])[^'",\[\]]+(?=['"])""")
_QUOTED_LIST = re.compile(r"""\[\s*(?:'[^'"\[\]]*'|"[^'"\[\]]*")(?:\s*,\s*(?:'[^'"\[\]]*'|"[^'"\[\]]*"))*\s*\]""")
_reading = threading.Lock()
"""Held while a text is read, which is pure Python. If thirty threads compete for the interpreter, an event loop beside
them gets only every thirtieth turn."""

# In ascending order: one equal gold decides, and an undecided gold outranks a different one, as it might be equal.
_SEVERITY: tuple[Outcome, ...] = ("different", "worker_died", "timeout", "equal")


@dataclass(frozen=True, slots=True)
class Grade:
    """Holds the verdict on one response."""

    correct: bool
    answer: str | None
    """Boxed answer; None without a box."""
    reason: Reason
    """Reason: `no_think_end` was cut off while thinking, `timeout` and `worker_died` could not be decided."""


def is_equivalent(answer: str, gold: str, *, mode: Mode = "kit", timeout: float = DEFAULT_TIMEOUT) -> bool:
    """Returns whether an answer equals a gold; False if equality could not be shown in `timeout` seconds. Never raises.

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
    r"""Grades a whole response: correct if its last `\boxed{}` after the last `</think>` equals any of the golds.

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
        # No further gold is tried: each hard comparison may take three seconds.
        if outcomes[-1] == "equal":
            break
    worst: Outcome = max(outcomes, key=_SEVERITY.index, default="different")
    return Grade(worst == "equal", answer, _REASONS[worst])


def listed_golds(golds: Golds) -> list[str]:
    """Returns golds as texts; data sets also hold numbers (5.0) and lists in string form (`['12', '33']`)."""
    if isinstance(golds, str):
        # By patterns, never by eval or ast: golds come from users' files. The length first bounds the pattern's work.
        return _QUOTED.findall(golds) if len(golds) <= MAX_LENGTH and _QUOTED_LIST.fullmatch(golds) else [golds]
    if isinstance(golds, Iterable):
        return [str(gold) for gold in golds]
    return [str(golds)]


def hard_case_counts() -> Counter[str]:
    """Returns how often comparisons in workers ended as equal, different, timeout or worker_died."""
    return Counter(shared_pool().counts)


def _decide(answer: str, gold: str, mode: Mode, timeout: float) -> Outcome:
    answer, gold = _printable(answer), _printable(gold)
    with _reading:
        verdict = original.cheap(answer, gold) if mode == "deepscaler" else compare(answer, gold, decide_cheaply)
    if verdict is not None:
        return "equal" if verdict else "different"
    # Outside the lock, since this may wait for seconds.
    return shared_pool().compare(mode, answer, gold, timeout)


def _printable(text: str) -> str:
    """Returns a text without lone surrogates, which JSON Lines cannot carry, and without control characters."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text.encode("utf-8", "replace").decode())


def _renew_lock() -> None:
    global _reading  # noqa: PLW0603  a fork copies the lock in its current state, perhaps held forever
    _reading = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
