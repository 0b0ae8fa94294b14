r"""Finds the problem, its golds and an id in a user's row, in columns that are named or guessed.

{"question": "How many ...?", "answer": "48 / 2 = 24 ... #### 72"}    GSM8K: the golds follow ####
{"problem": "...", "solution": "... so it is \\boxed{5}."}              the gold is in the last box
{"prompt": [{"role": "user", ...}], "reward_model": {"ground_truth": ["5"]}, "extra_info": {"index": 7}}   verl's schema
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from deepscaler.data.clean import is_unicode, read_golds
from deepscaler.data.problem import Message
from deepscaler.rewards.extract import last_boxed
from deepscaler.system.errors import UserError, unknown

USUAL = {
    "problem": ("problem", "question", "prompt", "input", "query", "instruction", "text"),
    "answer": (
        *("answer", "final_answer", "gold", "golds", "ground_truth", "reward_model.ground_truth", "target"),
        *("expected_answer", "answers", "label", "final", "solution", "output", "response"),
    ),
    "id": ("id", "problem_id", "unique_id", "uuid", "uid", "idx", "index", "extra_info.id", "extra_info.index"),
}
"""Names of columns in public sets, the clearest first."""

SOLUTIONS = ("solution", "output", "response")
"""Columns that hold a whole solution, of which only a marked final answer counts."""

MAX_ID = 200
MAX_PROBLEM = 200_000
"""Most characters of a problem; MAX_ID is that of an id."""

_ROLES = ("system", "user", "assistant")
_HASHES = re.compile(r"####[ \t]*(.*)")


@dataclass(frozen=True, slots=True)
class Columns:
    """Names the columns; empty to guess them. A dot looks into a column that holds an object."""

    problem: str = ""
    answer: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Holds the parts of one row."""

    problem: str | tuple[Message, ...]
    """A question, or a whole prompt as chat messages."""
    golds: tuple[str, ...]
    id: str


def choose(row: Any, wanted: Columns, place: str, *, answers: bool = True) -> Columns:
    """Returns the columns to read, chosen from the first row; without `answers`, the column of answers may be missing.

    Raises UserError that lists the row's columns.
    """
    if not isinstance(row, dict) or not row:
        raise UserError(f'{place}: expected an object such as {{"problem": ..., "answer": ...}}, got {_shown(row)}')
    if "problem" not in row and "data" in row and isinstance(row["data"], list):
        raise UserError(f"{place}: the rows are inside 'data': write that list itself, or one row per line")
    # One level, as deep as verl's schema is.
    objects = {key: value for key, value in row.items() if isinstance(value, dict)}
    names = [*map(str, row), *(f"{key}.{inner}" for key, value in objects.items() for inner in value)]
    chosen = {}
    for part in ("problem", "answer", "id"):
        name = getattr(wanted, part)
        if name and name not in names:
            raise UserError(f"{place}: {unknown('column', name, names[:50])}; {_how(part)}")
        by_lower = {one.lower(): one for one in reversed(names)}  # reversed: the first of `Answer` and `answer` wins
        chosen[part] = name or next((by_lower[usual] for usual in USUAL[part] if usual in by_lower), "")
        if not chosen[part] and (part == "problem" or (part == "answer" and answers)):
            called = f"{'an' if part == 'answer' else 'a'} {part}"
            raise UserError(
                f"{place}: no column has a usual name of {called} ({', '.join(USUAL[part][:4])}, ...);"
                f" the row has {', '.join(names[:20])}: {_how(part)}"
            )
    return Columns(**chosen)


def read_row(row: Any, columns: Columns, marks: "Counter[str]", *, answers: bool = True) -> Found | str:
    r"""Returns the parts of a row, or why it is left out; `marks` counts golds found after #### and in \boxed{}.

    Without `answers`, a row whose answer is missing or unreadable stays, without golds.
    """
    if not isinstance(row, dict):
        return "row is not an object"
    problem = _problem(_value(row, columns.problem))
    if isinstance(problem, str) and (not problem.strip() or len(problem) > MAX_PROBLEM):
        return "no problem" if not problem.strip() else "problem is too long"
    if problem is None:
        return "no problem" if _value(row, columns.problem) is None else "problem is not text"
    golds, why = _golds(_value(row, columns.answer) if columns.answer else None, columns.answer, marks)
    if why and not answers:
        golds, why = (), ""
    key = _value(row, columns.id) if columns.id else None
    # A float is not an id: 7.0 and 7 would be two.
    key = str(key).strip() if isinstance(key, str | int) and not isinstance(key, bool) else ""
    # An id is printed and logged, so a hash of the text takes the place of one that cannot be.
    if len(key) > MAX_ID or not key.isprintable():
        key = ""
    texts: Iterable[str] = [problem] if isinstance(problem, str) else [m["content"] for m in problem]
    if not why and not is_unicode(key, *texts, *golds):
        why = "text is not valid Unicode"
    return why or Found(problem.strip() if isinstance(problem, str) else problem, golds, key)


def _golds(answer: Any, column: str, marks: "Counter[str]") -> tuple[tuple[str, ...], str]:
    """Returns the golds of an answer, or none and the reason."""
    if isinstance(answer, list):
        answer = [_final(one, column, marks) for one in answer]
    else:
        answer = _final(answer, column, marks)
    if answer == [] or answer is _UNMARKED:
        return (), "empty answer" if answer == [] else "solution has no \\boxed{} and no ####"
    return read_golds(answer)


def _how(part: str) -> str:
    """Returns the advice on naming a column, on a command line and in a recipe."""
    return f"give --{part} COLUMN, or {part} in the recipe's [data]"


class _Unmarked:
    """Marks a solution without a final answer."""


_UNMARKED = _Unmarked()


def _final(answer: Any, column: str, marks: "Counter[str]") -> Any:
    """Returns the final answer of a text that marks one, and any other value unchanged."""
    if isinstance(answer, Decimal):  # parquet's decimals; as floats they would lose digits
        return str(answer)
    if not isinstance(answer, str):
        return answer
    # The last one is the final answer; a solution may quote the mark before.
    if "####" in answer and (found := _HASHES.findall(answer)) and found[-1].strip():
        marks["after ####"] += 1
        return found[-1].strip()
    if "boxed" in answer and (boxed := last_boxed(answer)):
        marks["in \\boxed{}"] += 1
        return boxed
    # a short text in a column of solutions is the answer itself
    is_solution = column.lower().rpartition(".")[2] in SOLUTIONS
    return _UNMARKED if is_solution and len(answer.split()) > 8 else answer


def _problem(value: Any) -> str | tuple[Message, ...] | None:
    """Returns a question or a prompt; None for any other value. A single user message is a whole prompt, too."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        return None
    messages = []
    for one in value:
        if not isinstance(one, dict) or one.get("role") not in _ROLES or not isinstance(one.get("content"), str):
            return None
        messages.append({"role": one["role"], "content": one["content"]})
    # A prompt that ends with an answer would have the model continue a finished turn.
    return tuple(messages) if messages[-1]["role"] == "user" else None


def _value(row: dict[str, Any], column: str) -> Any:
    # A column's own name may hold a dot, and comes before the way into an object.
    if column in row:
        return row[column]
    outer, _, inner = column.partition(".")
    value = row.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
