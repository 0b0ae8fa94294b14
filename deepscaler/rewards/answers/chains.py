r"""Finds the value of a chain of equations, and the sides that only name it.

x = 2+3 = 5                  5, if 2+3 is 5
\frac{1}{3} \approx 0.33    1/3
m+n = 100+271 = 371          371, for a gold that is a number
"""

from typing import Protocol

from deepscaler.rewards.answers.intervals import value_of
from deepscaler.rewards.answers.literals import Verdict, canonical
from deepscaler.rewards.answers.nodes import COLLECTIONS, Node, symbols, walk

APPROXIMATE = 0.01
"""Most relative error of the value behind an approximation sign."""

_NO_NAMES = frozenset({"\\infty", "\\pi", "e", "\\ldots"})
_NAME_SIGNS = frozenset({"\\angle", "\\triangle", "\\Delta"})


class Leaf(Protocol):
    """Compares two scalars; with `worked`, an answer may leave a calculation open (`2+3` in `x=2+3=5`)."""

    def __call__(self, answer: Node, gold: Node, *, worked: bool = False) -> Verdict:
        """Returns the verdict; None if only algebra can decide."""


def worth(node: Node, leaf: Leaf, *, any_name: bool) -> tuple[Node | None, Verdict]:
    """Returns the value of a chain of equations, or None, and whether its evaluated sides agree.

    With `any_name`, a side with letters only names the number (`m+n=371`); without it, the first side must be a name.
    """
    exact, rounded = exact_sides(node), _rounded_sides(node)
    closed = [side for side in exact if not is_open(side)]
    if any_name:
        # A side that no rule reads, and that names nothing, may deny the value.
        if not closed or any(side.kind == "opaque" and side.value == "" for side in exact):
            return None, False
        value = closed[-1]
        others = closed[:-1]
        # 371=m+n names 371 as m+n=371 does; in the middle of a chain a value is a step on the way.
        if value is not exact[-1] and (len(closed) > 1 or value is not exact[0]):
            return None, False
    else:
        if not (len(exact) == 1 and rounded) and not is_name(exact[0]):
            if len(exact) == 2 and is_name(exact[1]):  # `2x = y`
                return exact[0], True
            return None, False
        value, others = exact[-1], exact[1:-1]
    verdict: Verdict = True
    for other in others:
        verdict = both(verdict, True if canonical(other) == canonical(value) else _same_worked(other, value, leaf))
    for other in rounded:
        left, right = value_of(value), value_of(other)
        if left is not None and right is not None and abs(left - right) > APPROXIMATE * abs(left):
            verdict = False
    return value, verdict


def _same_worked(other: Node, value: Node, leaf: Leaf) -> Verdict:
    if other.kind == value.kind == "quantity":
        return leaf(other.args[0], value.args[0], worked=True) if other.value == value.value else False
    bare = [node.args[0] if node.kind in ("quantity", "degree") else node for node in (other, value)]
    if any(node.kind in COLLECTIONS or node.kind == "words" for node in bare):
        return False
    return leaf(bare[0], bare[1], worked=True)


def is_open(side: Node) -> bool:
    """Returns whether a side holds letters or cannot be read, so it can only name a value."""
    return side.kind == "words" or bool(symbols(side)) or any(part.kind in ("opaque", "call") for part in walk(side))


def exact_sides(node: Node) -> list[Node]:
    r"""Returns the sides before an approximation; for `x \\approx 11` both, because there is no exact value."""
    cut = next((i for i, sign in enumerate(node.value) if sign == "\\approx"), len(node.value))
    if cut == 0 and is_name(node.args[0]):
        return list(node.args)
    return list(node.args[: cut + 1])


def _rounded_sides(node: Node) -> list[Node]:
    return [] if len(exact := exact_sides(node)) == len(node.args) else list(node.args[len(exact) :])


def is_name(node: Node) -> bool:
    r"""Returns whether a side only names: `x`, `f(x)`, `|AB|`, `(p,q)`, `\frac{NO}{BO}`, `\text{Area}`."""
    if node.kind == "opaque":
        return node.value == "name" or bool(node.value and symbols(node))
    if node.kind == "words":
        return bool(node.value)
    if node.kind == "symbol":
        return node.value not in _NO_NAMES
    if node.kind == "call":
        return True
    if node.kind == "tuple":
        return all(part.kind == "symbol" for part in node.args)
    if node.kind in ("ratio", "abs", "norm", "function"):
        return bool(symbols(node)) or any(is_name(part) for part in node.args)
    if node.kind == "mul":
        return all(
            # AB=5 names a length; ab=5 as a gold is an equation between two variables.
            (part.kind == "symbol" and part.value[0].isupper()) or part.value in _NAME_SIGNS
            for part in node.args
        )
    if node.kind == "div":
        return all(is_name(part) and part.kind in ("symbol", "mul", "call") for part in node.args)
    return False


def both(one: Verdict, other: Verdict) -> Verdict:
    """Returns the verdict on two conditions that must both hold."""
    return False if False in (one, other) else None if None in (one, other) else True
