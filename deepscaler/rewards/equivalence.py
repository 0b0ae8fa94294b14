r"""Whether two answers are the same: by shape first, then part by part, each part by a `Leaf` comparison.

A leaf is asked about one pair of scalars and says True, False, or None for "only symbolic work can tell". The same
walk runs twice with different leaves: in the caller's process with one that never computes, and only if that leaves
a None, in a worker process with one that does.
"""

import re
from collections.abc import Callable

from deepscaler.rewards.normalize import normalize
from deepscaler.rewards.numbers import parse_number, same_number
from deepscaler.rewards.restatement import restates
from deepscaler.rewards.structure import MAX_ITEMS, Form, parse_form, split_top_level
from deepscaler.rewards.units import split_unit

Verdict = bool | None
Leaf = Callable[[str, str], Verdict]

MAX_LENGTH = 4000
"""Characters of an answer; nothing longer is a competition's answer, and work grows with length."""

_RELATION = re.compile(r"[<>]|\\(?:le|ge|ne|lt|gt|in|equiv|cong|parallel|perp)(?![a-zA-Z])")
_NAME = re.compile(r"[^\d+\-*/^<>=\\&]*(?:\\[a-zA-Z]+[^\d+\-*/^<>=\\&]*)*")
_FUNCTION_NAME = re.compile(r"y|[a-zA-Z]\(\w\)")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' .-]*")
_CLOCK = re.compile(r"(\d{1,2}:\d{2}):00")
_RATIO = re.compile(r"\d{1,9}(?:\s*:\s*\d{1,9})+")
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")


def compare(answer: str, gold: str, leaf: Leaf) -> Verdict:
    """Compare an answer with a gold, both as written. Not symmetric: the gold says what form is asked for."""
    if len(answer) > MAX_LENGTH or len(gold) > MAX_LENGTH:
        return answer.strip() == gold.strip()
    return _compare(normalize(answer), normalize(gold), leaf)


def decide_cheaply(answer: str, gold: str) -> Verdict:
    """The leaf that only reads: numbers, words, and the rule against restatements."""
    if _without_spaces(answer) == _without_spaces(gold):
        return True
    answer_number, gold_number = parse_number(answer), parse_number(gold)
    if answer_number and gold_number:
        return same_number(answer_number, gold_number)
    if restates(answer, gold):
        return False
    if _RATIO.fullmatch(answer) and _RATIO.fullmatch(gold):
        return _same_ratio(answer.split(":"), gold.split(":"))
    answer_words, gold_words = _words(answer), _words(gold)
    if answer_words and gold_words:
        return answer_words == gold_words
    if (answer_words and gold_number) or (answer_number and gold_words):
        return False
    return None


def _compare(answer: str, gold: str, leaf: Leaf) -> Verdict:
    if not answer or not gold:
        return answer == gold
    if _without_spaces(answer) == _without_spaces(gold) or _is_decimal_comma(answer, gold):
        return True
    answer_form, gold_form = parse_form(_exact_part(answer)), parse_form(_exact_part(gold))
    if answer_form.kind == gold_form.kind == "scalar":
        return _compare_scalars(answer_form.items[0], gold_form.items[0], leaf)
    return _compare_forms(answer_form, gold_form, leaf, answer, gold)


def _compare_forms(answer: Form, gold: Form, leaf: Leaf, answer_text: str, gold_text: str) -> Verdict:
    kinds = {answer.kind, gold.kind}
    if "scalar" in kinds:
        return _compare_collection_with_scalar(answer, gold, leaf, answer_text, gold_text)
    distinct = _without_repeats(answer), _without_repeats(gold)
    if len(distinct[0].items) != len(distinct[1].items) or len(distinct[0].items) > MAX_ITEMS:
        return _tuples_of_assignments(answer, gold, leaf)
    answer, gold = distinct
    if kinds <= {"list", "set"} or kinds == {"union"}:
        named = [sum("=" in item for item in form.items) for form in (answer, gold)]
        ordered = bool(named[0]) != bool(named[1])  # "x=5, y=3" against "5, 3": the names fix the order
        return _in_order(answer, gold, leaf) if ordered else _in_any_order(answer, gold, leaf)
    if kinds == {"tuple"} and answer.delimiters != gold.delimiters and (len(gold.items) == 2 or "list" in kinds):
        return False
    if kinds == {"matrix"} and answer.delimiters != gold.delimiters:
        return False
    if "union" in kinds or ("matrix" in kinds and len(kinds) > 1):
        return False
    return _in_order(answer, gold, leaf)


def _compare_collection_with_scalar(answer: Form, gold: Form, leaf: Leaf, answer_text: str, gold_text: str) -> Verdict:
    """`{5}` is 5, `(p,q)=(3,2)` is (3,2), `0<x<1` is (0,1); otherwise several values are not one."""
    if len(answer.items) == len(gold.items) == 1:
        return _compare(answer.items[0], gold.items[0], leaf)
    answer_value, gold_value = _value_of_assignment(answer_text), _value_of_assignment(gold_text)
    if (answer_value, gold_value) != (answer_text, gold_text):
        return _compare(answer_value, gold_value, leaf)
    if gold.kind == "scalar" and _RELATION.search(gold_text) and not parse_number(gold_text):
        return leaf(answer_text, gold_text)
    if parse_number(answer_text) or parse_number(gold_text):
        return False
    return leaf(answer_text, gold_text)


def _compare_scalars(answer: str, gold: str, leaf: Leaf) -> Verdict:
    answer_sides, gold_sides = _sides(answer), _sides(gold)
    if len(answer_sides) > 1 or len(gold_sides) > 1:
        return _compare_equations(answer_sides, gold_sides, leaf, answer, gold)
    answer, gold = _CLOCK.sub(r"\1", answer), _CLOCK.sub(r"\1", gold)
    answer_value, answer_unit = split_unit(answer)
    gold_value, gold_unit = split_unit(gold)
    if answer_unit and gold_unit and answer_unit != gold_unit:
        return False
    if (answer_value, gold_value) != (answer, gold):
        return _compare(answer_value, gold_value, leaf)
    return leaf(answer, gold)


def _compare_equations(answer: list[str], gold: list[str], leaf: Leaf, answer_text: str, gold_text: str) -> Verdict:
    answer_named, gold_named = _is_named(answer), _is_named(gold)
    if len(answer) == 1:
        return _compare(answer[0], gold[-1], leaf) if gold_named else False
    if len(gold) == 1:
        computed = not re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", "".join(answer)))
        return _compare(answer[-1], gold[0], leaf) if answer_named or computed else False
    if answer_named and gold_named:
        names = _without_spaces(answer[0]), _without_spaces(gold[0])
        if names[0] == names[1] or all(_FUNCTION_NAME.fullmatch(name) for name in names):
            return _compare(answer[-1], gold[-1], leaf)
    return leaf(answer_text, gold_text)


def _in_order(answer: Form, gold: Form, leaf: Leaf) -> Verdict:
    verdicts = []
    for answer_item, gold_item in zip(answer.items, gold.items, strict=True):
        verdict = _compare(answer_item, gold_item, leaf)
        if verdict is False:
            return False
        verdicts.append(verdict)
    return None if None in verdicts else True


def _in_any_order(answer: Form, gold: Form, leaf: Leaf) -> Verdict:
    """Each gold item takes an answer item of its own, certain matches before possible ones."""
    remaining = list(answer.items)
    certain = True
    for gold_item in gold.items:
        verdicts = [_compare(item, gold_item, leaf) for item in remaining]
        chosen = next(
            (i for i, v in enumerate(verdicts) if v), next((i for i, v in enumerate(verdicts) if v is None), None)
        )
        if chosen is None:
            # An earlier uncertain choice may have taken this one's partner.
            return False if certain else None
        certain = certain and verdicts[chosen] is True
        del remaining[chosen]
    return True if certain else None


def _without_repeats(form: Form) -> Form:
    """A list that names an item twice says no more than one that names it once."""
    if form.kind not in ("list", "set"):
        return form
    return Form(form.kind, tuple({_without_spaces(item): item for item in form.items}.values()), form.delimiters)


def _tuples_of_assignments(answer: Form, gold: Form, leaf: Leaf) -> Verdict:
    """`p=5,q=2;p=7,q=2` is `(5,2),(7,2)`: as many names as the tuples are long."""
    flat_answer, flat_gold = _flatten(answer), _flatten(gold)
    if len(flat_answer) != len(flat_gold) or (flat_answer, flat_gold) == (list(answer.items), list(gold.items)):
        return False
    return _in_order(Form("list", tuple(flat_answer)), Form("list", tuple(flat_gold)), leaf)


def _flatten(form: Form) -> list[str]:
    return [part for item in form.items for part in (split_top_level(item[1:-1], ",;") if item[:1] == "(" else [item])]


def _sides(text: str) -> list[str]:
    r"""The sides of an equation or a chain of them, the name first: `5 = x` -> ["x", "5"]."""
    if _RELATION.search(text.replace("\\in", "")):
        return [text]
    sides = split_top_level(text, "=")
    if len(sides) == 2 and not _is_named(sides) and _is_named(sides[::-1]):
        return sides[::-1]
    return sides or [text]


def _is_named(sides: list[str]) -> bool:
    r"""Whether the first side only names the last: `x`, `f(x)`, `|AB|`, `A:B`, `\frac{NO}{BO}`, `S_{12}`."""
    name = re.sub(r"_(?:\{[^{}]*\}|\w)|\\(?:quad|text)", "", sides[0])
    return len(sides) > 1 and len(name) <= 60 and bool(re.search("[a-zA-Z]", name)) and bool(_NAME.fullmatch(name))


def _value_of_assignment(text: str) -> str:
    """What stands after the name in `(p,q)=(3,2)`; the text itself where nothing is named."""
    sides = _sides(text)
    return sides[-1] if _is_named(sides) else text


def _exact_part(text: str) -> str:
    r"""`\frac{1}{3} \approx 0.33` -> `\frac{1}{3}`, but `x \approx 11` -> `11`."""
    before, separator, after = text.partition("\\approx")
    if not separator:
        return text
    return after.strip() if _is_named([before.strip(), after]) or not before.strip() else before.strip()


def _same_ratio(answer: list[str], gold: list[str]) -> bool:
    """`2:4` is `1:2`; a time of day (`12:00`, any part zero-padded) has been compared as text already."""
    if len(answer) != len(gold) or any(part.strip().startswith("0") for part in answer + gold):
        return False
    return all(int(a) * int(gold[0]) == int(answer[0]) * int(g) for a, g in zip(answer, gold, strict=True))


def _words(text: str) -> str:
    r"""The lower-case words of a textual answer (`\text{(C)}`, `Evelyn`); empty for mathematics such as `xy`."""
    bare = _TEXT.sub(r"\1", text).strip()
    bare = re.sub(r"^\(([A-Za-z])\)$", r"\1", bare).strip(" .")
    is_text = bare != text.strip() or len(bare) > 3
    if not _WORDS.fullmatch(bare) or not is_text:
        return bare.lower() if len(bare) == 1 and bare.isalpha() else ""
    return " ".join(bare.lower().split())


def _is_decimal_comma(answer: str, gold: str) -> bool:
    """`1000,99` is 1000.99; a list of two is never written with a point."""
    return any(
        _DECIMAL_COMMA.fullmatch(comma) is not None and comma.replace(",", ".") == point
        for comma, point in ((answer, gold), (gold, answer))
    )


def _without_spaces(text: str) -> str:
    r"""For comparing spellings: no spaces but the one that ends a command (`\pi r` stays apart from `\pir`)."""
    return re.sub(r"(?<!\\)\s+(?![a-zA-Z])|(?<![a-zA-Z])\s+", "", text)
