r"""Turns published rows into problems: golds that a grader can read, and a reason for every row that is dropped.

{"answer": 142.0}                      -> "142"
{"answer": ["0.53\n", "5.3e-1\n"]}     -> "0.53", "5.3e-1"
{"answer": ["$\\frac{1}{2}$"]}         -> "\frac{1}{2}"
{"answer": null}                       -> dropped: null answer
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable
from importlib import resources
from typing import Any

from deepscaler.data.problem import Problem, ask
from deepscaler.data.sources import Row, Source
from deepscaler.rewards.readable import unreadable
from deepscaler.system.errors import UserError


def clean_rows(rows: Iterable[Row], source: Source) -> tuple[list[Problem], Counter[str]]:
    """Returns the problems that can be graded, and the number of dropped rows by reason.

    Raises UserError for a row without a problem, because the file is then not the expected one.
    """
    fixes = _fixes(source)
    problems: list[Problem] = []
    dropped: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        question = row.get(source.problem) if isinstance(row, dict) else None
        if not isinstance(question, str) or not question.strip():
            raise UserError(
                f"{source.name}: row {number} has no {source.problem!r};"
                f" every row needs {source.problem!r} and 'answer'"
            )
        key = _key(row, source, number)
        # The key is the row's own and not its place, so that a correction cannot slip to another row.
        golds, why = read_golds(fixes.get(key, row.get("answer")))
        if not why and not is_unicode(question, key, *golds):
            why = "text is not valid Unicode"
        if why:
            dropped[why] += 1
            continue
        seen[key] += 1  # a training set may hold a problem twice; both copies stay, as in the published runs
        identifier = f"{source.name}/{key}" + (f"~{seen[key]}" if seen[key] > 1 else "")
        problems.append(Problem(id=identifier, data_source=source.name, prompt=ask(question.strip()), golds=golds))
    return problems, dropped


def read_golds(answer: Any) -> tuple[tuple[str, ...], str]:
    """Returns the golds that a grader can read, from an answer or a list of answers; or none and the reason.

    Golds are a list in every set, because Minerva's and OlympiadBench's are, and verl concatenates files of one schema.
    """
    answers = answer if isinstance(answer, list) else [answer]
    # NaN is refused here: JSON as Python reads it may hold one, and its text would be a gold that nothing equals.
    if answer is not None and not all(map(_is_answer, answers)):
        return (), "answer is neither text nor a number"
    golds = tuple(gold for gold in map(clean_gold, answers) if gold)
    if not golds:
        return (), "null answer" if answer is None else "empty answer"
    reasons = [unreadable(gold) for gold in golds]
    if reasons[0] is not None and None not in reasons:
        return (), reasons[0]
    return tuple(dict.fromkeys(gold for gold, why in zip(golds, reasons, strict=True) if why is None)), ""


def clean_gold(answer: Any) -> str:
    """Returns one gold as text, without surrounding line breaks and dollar signs, whole floats as integers.

    The text is empty for a missing gold.
    """
    if answer is None:
        return ""
    # AMC's file has 142.0 for 142.
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    text = str(answer).strip()
    # Not for `$x$ and $y$`, whose outer signs do not belong together.
    while len(text) > 1 and text.startswith("$") and text.endswith("$") and "$" not in text.strip("$"):
        text = text.strip("$").strip()
    return text


def _is_answer(answer: Any) -> bool:
    is_number = isinstance(answer, int | float) and not isinstance(answer, bool) and math.isfinite(answer)
    return is_number or isinstance(answer, str)


def is_unicode(*texts: str) -> bool:
    """Returns whether texts hold no lone surrogates, which JSON can carry but parquet cannot."""
    return not any("\ud800" <= character <= "\udfff" for text in texts for character in text)


def _key(row: Row, source: Source, number: int) -> str:
    if source.key is None:
        # `replace`, because a lone surrogate cannot be encoded; its row is left out later, with its reason.
        return hashlib.sha256(row[source.problem].strip().encode("utf-8", "replace")).hexdigest()[:12]
    try:
        return source.key(row)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"{source.name}: row {number} lacks the field that identifies it ({error!r}): give this set's own file"
        ) from error


def _fixes(source: Source) -> dict[str, Any]:
    """Returns the corrected golds by key."""
    if not source.fixes:
        return {}
    table = json.loads(resources.files("deepscaler.data").joinpath(source.fixes).read_text(encoding="utf-8"))
    golds: dict[str, Any] = table["golds"]
    return golds
