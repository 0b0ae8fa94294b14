r"""What a chain of equations is worth, and which of its sides only name that.

x = 2+3 = 5                  5, if 2+3 is 5
\frac{1}{3} \approx 0.33    1/3
m+n = 100+271 = 371          371, for a gold that is a number
"""

from typing import Protocol

from deepscaler.rewards.answers.intervals import value_of
from deepscaler.rewards.answers.literals import Verdict, canonical
from deepscaler.rewards.answers.nodes import COLLECTIONS, Node, symbols, walk

APPROXIMATE = 0.01
"""Relative error of what stands behind an approximation sign."""

_NO_NAMES = frozenset({"\\infty", "\\pi", "e", "\\ldots"})
_NAME_SIGNS = frozenset({"\\angle", "\\triangle"})


class Leaf(Protocol):
    """Compares two scalars; with `worked`, an answer may leave work to be done (`2+3` in `x=2+3=5`)."""

    def __call__(self, answer: Node, gold: Node, *, worked: bool = False) -> Verdict:
        """Returns the verdict; None where only work can tell."""


def worth(node: Node, leaf: Leaf, *, any_name: bool) -> tuple[Node | None, Verdict]:
    """Returns what a chain of equations is worth, None for nothing, and whether its worked-out sides agree.

    With `any_name`, a side with letters only names the number (`m+n=371`); without, the first side has to be a name.
    """
    exact, rounded = exact_sides(node), _rounded_sides(node)
    closed = [side for side in exact if not is_open(side)]
    if any_name:
        if not closed or any(side.kind == "opaque" and side.value == "" for side in exact):
            return None, False
        value = closed[-1]
        others = closed[:-1]
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
    """Whether a side holds letters or cannot be read, so that it can only name a value."""
    return side.kind == "words" or bool(symbols(side)) or any(part.kind in ("opaque", "call") for part in walk(side))


def exact_sides(node: Node) -> list[Node]:
    r"""The sides before an approximation; what `x \\approx 11` approximates is all there is."""
    cut = next((i for i, sign in enumerate(node.value) if sign == "\\approx"), len(node.value))
    if cut == 0 and is_name(node.args[0]):
        return list(node.args)
    return list(node.args[: cut + 1])


def _rounded_sides(node: Node) -> list[Node]:
    return [] if len(exact := exact_sides(node)) == len(node.args) else list(node.args[len(exact) :])


def is_name(node: Node) -> bool:
    r"""Whether a side only names: `x`, `f(x)`, `|AB|`, `(p,q)`, `\frac{NO}{BO}`, `\text{Area}`, `N \bmod 1000`."""
    if node.kind == "opaque":
        return node.value == "name" or (node.value not in ("",) and bool(symbols(node)))
    if node.kind in ("words",):
        return bool(node.value)
    if node.kind == "symbol":
        return node.value not in ("\\infty", "\\pi", "e", "\\ldots")
    if node.kind == "call":
        return True
    if node.kind == "tuple":
        return all(part.kind == "symbol" for part in node.args)
    if node.kind in ("ratio", "abs", "norm", "function"):
        return bool(symbols(node)) or any(is_name(part) for part in node.args)
    if node.kind == "mul":
        return all(
            (part.kind == "symbol" and part.value[0].isupper()) or part.value in ("\\angle", "\\triangle", "\\Delta")
            for part in node.args
        )
    if node.kind == "div":
        return all(is_name(part) and part.kind in ("symbol", "mul", "call") for part in node.args)
    return False


def both(one: Verdict, other: Verdict) -> Verdict:
    """Returns the verdict on two things that both have to be so."""
    return False if False in (one, other) else None if None in (one, other) else True
