"""Compares answers that need no calculation: numbers, words, ratios, times, digits in a base."""

from fractions import Fraction

from deepscaler.rewards.answers.nodes import Node, symbols
from deepscaler.rewards.answers.numbers import literal, same_number
from deepscaler.rewards.answers.restatement import restates

Verdict = bool | None

_READ_ONLY = frozenset({"words", "clock", "base", "ratio", "point"})
_NOON = 12
_SYMMETRIC = frozenset({"gcd", "lcm", "max", "min"})
_CHOICES = frozenset("BCD")
"""Letters that are always a choice when alone, in either case; A and E also name an area and an energy."""


def decide_cheaply(answer: Node, gold: Node, *, worked: bool = False) -> Verdict:
    """Returns the verdict on two scalars, including the rule against restatements; None if reading cannot decide."""
    if same_tree(answer, gold) or (gold.value in _CHOICES and answer == Node("symbol", (), gold.value.lower())):
        return True
    answer_number, gold_number = literal(answer), literal(gold)
    if answer_number and gold_number:
        return same_number(answer_number, gold_number)
    if answer.kind in _READ_ONLY or gold.kind in _READ_ONLY:
        return _same_special(answer, gold)
    if answer.kind == "quantity" or gold.kind == "quantity" or (not worked and restates(answer, gold)):
        return False
    # x-x+y is refused for y: a letter that cancels is a calculation left open. A call may hide any letter.
    if symbols(answer) != symbols(gold) and not (_has_call(answer) or _has_call(gold)):
        return False
    return None


def same_tree(answer: Node, gold: Node) -> bool:
    """Returns whether two trees are equal apart from the order of sums and products and the spelling of numbers."""
    return canonical(answer) == canonical(gold)


def canonical(node: Node) -> Node:
    """Returns a tree with sums and products in one order, signs in front, and numbers by their value."""
    if node.kind == "number":
        # Without the step: 0.50 and 0.5 are one number, written twice.
        return Node("number", (), (node.value.value, node.value.percent))
    if not node.args:
        return node
    args = [canonical(part) for part in node.args]
    if node.kind == "function" and node.value in _SYMMETRIC:
        args.sort(key=repr)
    if node.kind in ("add", "mul"):
        flat = [part for arg in args for part in (arg.args if arg.kind == node.kind else (arg,))]
        # By repr, because nodes of different kinds have no order between them.
        args = sorted(flat, key=repr)
    return Node(node.kind, tuple(args), node.value)


def _has_call(node: Node) -> bool:
    return any(part.kind in ("call", "opaque") for part in (node, *node.args))


def _same_special(answer: Node, gold: Node) -> bool:
    kinds = {answer.kind, gold.kind}
    if kinds == {"clock"}:
        return _same_clock(answer.value, gold.value)
    if kinds in ({"ratio"}, {"ratio", "clock"}):
        return _same_ratio(answer, gold)
    if kinds == {"base"}:
        return bool(answer.value == gold.value)
    if "base" in kinds:
        return _same_digits(answer, gold) if answer.kind == "base" else _same_digits(gold, answer)
    if "words" in kinds:
        return _letters(answer) == _letters(gold) != ""
    return False


def _letters(node: Node) -> str:
    """Returns a word's letters, whether it was read as a word or as a product of letters."""
    if node.kind == "words":
        text = str(node.value)
        inner = text[1:-1] if text[:1] == "(" and text[-1:] == ")" else text
        # A single letter keeps its case: a and A name different things, except for the choices B, C and D.
        return inner if len(inner) == 1 else inner.lower()
    if node.kind == "symbol":
        return str(node.value)
    if node.kind == "mul" and all(
        factor.kind == "number" or (factor.kind == "symbol" and len(factor.value) == 1) for factor in node.args
    ):
        return "".join(
            factor.value if factor.kind == "symbol" else f" {factor.value.value}" for factor in node.args
        ).lower()
    return ""


def _same_digits(based: Node, other: Node) -> bool:
    """Returns whether digits agree if only one side names a base, which must then be the question's."""
    number = literal(other)
    digits = based.value[0]
    if number is None:
        return _letters(other).upper() == digits and len(digits) > 1
    # A base that only one side names is ignored, and then the digits count, not their value: 52 is 52_8.
    return bool(digits.removeprefix("-").isdigit() and number == (Fraction(int(digits)), Fraction(0), False))


def _same_clock(answer: tuple, gold: tuple) -> bool:  # type: ignore[type-arg]
    """Returns whether two times agree: 20:34:00 is 20:34, 15:30 is 3:30 p.m., and 3:30 may be either half of a day."""
    (*a, a_half, _, _), (*g, g_half, _, _) = answer, gold
    if a_half and g_half:
        return a == g and a_half == g_half
    if not a_half and not g_half:
        return a == g or _same_parts(answer[4], gold[4], answer[5] or gold[5])
    half, timed, plain = (a_half, a, g) if a_half else (g_half, g, a)
    hour = timed[0] % _NOON + (_NOON if half == "pm" else 0)
    return plain[1:] == timed[1:] and plain[0] in (timed[0], hour)


def _same_ratio(answer: Node, gold: Node) -> bool:
    """Returns whether two ratios agree: `2:4` is `1:2`. With a zero-padded part it is a time of day."""
    parts = []
    for node in (answer, gold):
        if node.kind == "clock":
            if node.value[3] or node.value[5]:
                return False
            parts.append([Fraction(part) for part in node.value[4]])
        else:
            numbers = [literal(part) for part in node.args]
            if None in numbers:
                return False
            parts.append([number.value for number in numbers if number])
    return _same_parts(parts[0], parts[1], False)


def _same_parts(answer: list[Fraction], gold: list[Fraction], padded: bool) -> bool:
    if len(answer) != len(gold) or padded or not answer[0] or not gold[0]:
        return False
    return all(a * gold[0] == answer[0] * g for a, g in zip(answer, gold, strict=True))
