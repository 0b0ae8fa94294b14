r"""Whether two answers are the same: by shape first, then part by part, each part by a `Leaf` comparison.

A leaf is asked about one pair of scalars and says True, False, or None for "only symbolic work can tell". The same
walk runs twice with different leaves: in the caller's process with one that never computes, and only if that leaves
a None, in a worker process with one that does.
"""

import re
from collections.abc import Callable

from deepscaler.rewards.answers.equations import (
    RELATION,
    ascending,
    in_terms_of,
    is_named,
    names,
    sides,
    value_of_assignment,
)
from deepscaler.rewards.answers.literals import Verdict, is_decimal_comma, same_clock, same_spelling, without_spaces
from deepscaler.rewards.answers.normalize import normalize
from deepscaler.rewards.answers.numbers import parse_number
from deepscaler.rewards.answers.structure import MAX_ITEMS, Form, parse_form, split_top_level
from deepscaler.rewards.answers.units import split_unit

Leaf = Callable[[str, str], Verdict]

MAX_LENGTH = 4000
"""Characters of an answer; nothing longer is a competition's answer, and work grows with length."""

_CHOICE = re.compile(r"(?:\\text\s*\{\s*)?\(([A-E])\)\s*(?:\}\s*(?=\S)|(?=[\s\\\d]))(.+)")
_LETTER = re.compile(r"(?:\\text\s*\{\s*)?\(?([A-E])\)?\s*\}?")
_OTHER_CHOICE = re.compile(r"\b(?:or|and)\b|\([A-E]\)")
_BARE_WORD = re.compile(r"[A-Za-z]{2,}")


def compare(answer: str, gold: str, leaf: Leaf) -> Verdict:
    """Compare an answer with a gold, both as written. Not symmetric: the gold says what form is asked for."""
    if len(answer) > MAX_LENGTH or len(gold) > MAX_LENGTH:
        return answer.strip() == gold.strip()
    answer, gold = normalize(answer), normalize(gold)
    choice = _CHOICE.fullmatch(answer)
    if choice and not _OTHER_CHOICE.search(choice[2]):  # "(A) 7" gives both the letter and the value
        answer = choice[1] if _LETTER.fullmatch(gold) else choice[2].strip()
    return _compare(answer, gold, leaf)


def _compare(answer: str, gold: str, leaf: Leaf) -> Verdict:
    if not answer or not gold:
        return answer == gold
    if same_spelling(answer, gold) or is_decimal_comma(answer, gold):
        return True
    answer, gold = _exact_part(answer), _exact_part(gold)
    answer_form, gold_form = parse_form(answer), parse_form(gold)
    if answer_form.kind == gold_form.kind == "scalar":
        return _compare_scalars(answer_form.items[0], gold_form.items[0], leaf)
    if "scalar" in (answer_form.kind, gold_form.kind):
        return _compare_collection_with_scalar(answer_form, gold_form, leaf, answer, gold)
    return _compare_collections(answer_form, gold_form, leaf)


def _compare_collections(answer: Form, gold: Form, leaf: Leaf) -> Verdict:
    if len(answer.items) != len(gold.items):
        answer = _without_repeats(answer)
    if len(answer.items) != len(gold.items) or len(answer.items) > MAX_ITEMS:
        return _tuples_of_assignments(answer, gold, leaf)
    kinds = {answer.kind, gold.kind}
    if kinds <= {"list", "set"} or kinds == {"union"}:
        return _in_order(answer, gold, leaf) if _names_fix_order(answer, gold) else _in_any_order(answer, gold, leaf)
    if kinds == {"tuple"} and answer.delimiters != gold.delimiters and len(gold.items) == 2:
        return False
    if kinds == {"set", "tuple"} and "()" not in (answer.delimiters, gold.delimiters):
        return False
    if kinds == {"matrix"} and answer.delimiters != gold.delimiters:
        return False
    if "union" in kinds or ("matrix" in kinds and len(kinds) > 1):
        return False
    return _in_order(answer, gold, leaf)


def _names_fix_order(answer: Form, gold: Form) -> bool:
    """`x=5, y=3` against `5, 3`; but `x=5, x=3` only names the unknown."""
    found = [names(form.items) for form in (answer, gold)]
    return bool(found[0]) != bool(found[1]) and len(set(found[0] or found[1])) > 1


def _compare_collection_with_scalar(answer: Form, gold: Form, leaf: Leaf, answer_text: str, gold_text: str) -> Verdict:
    """`{5}` is 5, `(p,q)=(3,2)` is (3,2), `0<x<1` is (0,1); otherwise several values are not one."""
    if len(answer.items) == len(gold.items) == 1:
        return _compare(answer.items[0], gold.items[0], leaf)
    answer_value, gold_value = value_of_assignment(answer_text), value_of_assignment(gold_text)
    if (answer_value, gold_value) != (answer_text, gold_text):
        return _compare(answer_value, gold_value, leaf)
    if "list" in (answer.kind, gold.kind):
        return False
    if gold.kind == "scalar" and RELATION.search(gold_text) and not parse_number(gold_text):
        return leaf(answer_text, gold_text)
    if parse_number(answer_text) or parse_number(gold_text):
        return False
    return leaf(answer_text, gold_text)


def _compare_scalars(answer: str, gold: str, leaf: Leaf) -> Verdict:
    if same_clock(answer, gold):
        return True
    answer, gold = ascending(answer), ascending(gold)
    answer_sides, gold_sides = sides(answer), sides(gold)
    if len(answer_sides) > 1 or len(gold_sides) > 1:
        return _compare_equations(answer_sides, gold_sides, leaf, answer, gold)
    answer_value, answer_unit = split_unit(answer)
    gold_value, gold_unit = split_unit(gold)
    if answer_unit and gold_unit and answer_unit != gold_unit:
        return False
    if (answer_value, gold_value) != (answer, gold):
        return _compare(answer_value, gold_value, leaf)
    return leaf(answer, gold)


def _compare_equations(answer: list[str], gold: list[str], leaf: Leaf, answer_text: str, gold_text: str) -> Verdict:
    answer_named, gold_named = is_named(answer), is_named(gold)
    if len(answer) == 1:
        return _compare(answer[0], gold[-1], leaf) if gold_named and not _BARE_WORD.fullmatch(gold[-1]) else False
    if len(gold) == 1:
        computed = not re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", "".join(answer)))
        return _compare(answer[-1], gold[0], leaf) if answer_named or computed else False
    if answer_named and gold_named and (value := in_terms_of(gold, answer)) is not None:
        return _compare(value, gold[-1], leaf)
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
    return Form(form.kind, tuple({without_spaces(item): item for item in form.items}.values()), form.delimiters)


def _tuples_of_assignments(answer: Form, gold: Form, leaf: Leaf) -> Verdict:
    """`p=5,q=2;p=7,q=2` is `(5,2),(7,2)`: as many names as the tuples are long."""
    if not names(answer.items) and not names(gold.items):
        return False
    flat_answer, flat_gold = _flatten(answer), _flatten(gold)
    if len(flat_answer) != len(flat_gold) or (flat_answer, flat_gold) == (list(answer.items), list(gold.items)):
        return False
    return _in_order(Form("list", tuple(flat_answer)), Form("list", tuple(flat_gold)), leaf)


def _flatten(form: Form) -> list[str]:
    return [part for item in form.items for part in (split_top_level(item[1:-1], ",;") if item[:1] == "(" else [item])]


def _exact_part(text: str) -> str:
    r"""`\frac{1}{3} \approx 0.33` -> `\frac{1}{3}`, but `x \approx 11` -> `11`."""
    before, separator, after = text.partition("\\approx")
    if not separator:
        return text
    return after.strip() if is_named([before.strip(), after]) or not before.strip() else before.strip()
