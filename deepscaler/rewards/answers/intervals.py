r"""Solves inequalities in one variable as unions of intervals: `2<x<5` is (2,5), `x<2 \text{ or } x>5`, `|x| \le 1`.

Ends are ordered by their values as floats, in one pass; a leaf decides whether two ends are equal.
"""

import math
from typing import NamedTuple

from deepscaler.rewards.answers.nodes import Node, negated, symbols
from deepscaler.rewards.answers.numbers import literal

MAX_PARTS = 40
_INFINITE = Node("symbol", (), "\\infty")
_REALS = "\\mathbbR"


class Interval(NamedTuple):
    """Holds an interval between two ends; `closed` shows which ends belong to it."""

    low: Node
    high: Node
    closed: tuple[bool, bool]


Set = tuple[Interval, ...]
EVERYTHING: Set = (Interval(Node("neg", (_INFINITE,)), _INFINITE, (False, False)),)


def solution_set(node: Node) -> Set | None:
    """Returns the real numbers that an answer describes, as disjoint intervals in order; None for anything else."""
    return _solve(node) if len(node.args) <= MAX_PARTS else None


def is_inequality(node: Node) -> bool:
    """Returns whether a tree states bounds with signs rather than as an interval."""
    return node.kind == "relation" and bool(set(node.value) & {"<", ">", "\\le", "\\ge", "\\ne"})


def _solve(node: Node) -> Set | None:
    if node.kind == "relation":
        return _solve_relation(node)
    if node.kind == "symbol":
        return EVERYTHING if node.value == _REALS else None
    if (
        node.kind == "tuple"
        and len(node.args) == 2
        and value_of(node.args[0]) is not None
        and value_of(node.args[1]) is not None
    ):
        return _interval(node.args[0], node.args[1], (node.value[0] == "[", node.value[1] == "]"))
    if node.kind == "set":
        parts = [_interval(part, part, (True, True)) for part in node.args]
        return None if None in parts else _union([part for part in parts if part])
    if node.kind == "builder":
        return _solve(node.args[1])
    if node.kind == "list" and node.args and all(is_inequality(part) for part in node.args):
        return _solve_list(node)
    if node.kind in ("union", "intersection", "minus"):
        sets = [_solve(part) for part in node.args]
        known = [part for part in sets if part is not None]
        if len(known) != len(sets):
            return None
        if node.kind == "union":
            return _union(known)
        if node.kind == "intersection":
            return _intersection(known)
        return _intersection([known[0], *map(_complement, known[1:])])
    return None


def _solve_list(node: Node) -> Set | None:
    names = {variable(part) for part in node.args}
    sets = [part for part in map(_solve, node.args) if part is not None]
    if len(names) != 1 or None in names or len(sets) != len(node.args):
        return None
    if node.value == "or":
        return _union(sets)
    return (
        _intersection(sets) if node.value == "and" or "\\ne" in {s for part in node.args for s in part.value} else None
    )


def variable(node: Node) -> Node | None:
    """Returns the bounded part of an inequality: `x` in `2<x<5`, `f(x)` in `0<f(x)<1`."""
    if node.value == ("\\in",):
        return node.args[0]
    sides = [side for side in node.args if value_of(side) is None]
    if len(sides) != 1:
        return None
    side = sides[0]
    return side.args[0] if side.kind == "abs" else side


def _solve_relation(node: Node) -> Set | None:
    position = next((i for i, side in enumerate(node.args) if value_of(side) is None), None)
    bounded = variable(node)
    if (
        bounded is None
        or position is None
        or node.args[position].kind in ("words", "list")
        or not symbols(bounded)
        or bounded.kind not in ("symbol", "call", "opaque", "abs")
    ):
        return None
    if node.value == ("\\in",) and position == 0:
        return _solve(node.args[1])
    if node.value == ("\\in",):
        return None
    found: Set = EVERYTHING
    for index, written in enumerate(node.value):
        left, right = node.args[index], node.args[index + 1]
        bound, sign = (right, written) if index == position else (left, _mirrored(written))
        part = _half_line(bound, sign, absolute=node.args[position].kind == "abs")
        if part is None or index not in (position, position - 1):
            return None
        found = _intersection([found, part])
    return found


def _mirrored(sign: str) -> str:
    return {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}.get(sign, sign)


def _half_line(bound: Node, sign: str, *, absolute: bool) -> Set | None:
    """Returns the numbers x with `x sign bound`, or `|x| sign bound`."""
    closed = sign in ("\\le", "\\ge")
    if absolute:
        low = negated(bound)
        inside = (
            _interval(low, bound, (closed, closed))
            if sign in ("<", "\\le")
            else _interval(low, bound, (not closed, not closed))
        )
        if inside is None or sign not in ("<", "\\le", ">", "\\ge"):
            return None
        return inside if sign in ("<", "\\le") else _complement(inside)
    if sign in ("<", "\\le"):
        return _interval(EVERYTHING[0].low, bound, (False, closed))
    if sign in (">", "\\ge"):
        return _interval(bound, _INFINITE, (closed, False))
    point = _interval(bound, bound, (True, True))
    return _complement(point) if sign == "\\ne" and point is not None else None


def _interval(low: Node, high: Node, closed: tuple[bool, bool]) -> Set | None:
    bottom, top = value_of(low), value_of(high)
    # (5,2) is a pair of numbers, never an interval.
    if bottom is None or top is None or bottom > top or (bottom == top and closed != (True, True)):
        return None
    return (Interval(low, high, closed),)


def value_of(node: Node) -> float | None:
    """Returns the value of a constant as a float; None if it has none or holds a variable."""
    try:
        return _float(node)
    except (ValueError, OverflowError, ZeroDivisionError):
        return None


def _float(node: Node) -> float:
    if exact := literal(node):
        return float(exact.value)
    if node.kind == "symbol":
        return (
            {"\\infty": math.inf, "\\pi": math.pi, "e": math.e}.get(node.value, math.nan)
            if node.value in ("\\infty", "\\pi", "e")
            else _none()
        )
    parts = [_float(part) for part in node.args]
    if node.kind == "neg":
        return -parts[0]
    if node.kind == "add":
        return math.fsum(parts)
    if node.kind == "mul":
        return math.prod(parts)
    if node.kind == "div":
        return parts[0] / parts[1]
    if node.kind == "root":
        # Python's ** gives a complex number for the cube root of -8.
        return math.copysign(abs(parts[1]) ** (1 / parts[0]), parts[1]) if parts[1] >= 0 or parts[0] % 2 else _none()
    # Floats only: 9.0**1e9 raises OverflowError at once, where integers would be computed to the end.
    if node.kind == "power" and (parts[0] > 0 or parts[1].is_integer()):
        return float(parts[0] ** parts[1])
    if node.kind == "degree":
        return parts[0]
    if node.kind == "function" and node.value in _FLOATS:
        return float(_FLOATS[node.value](*parts))
    return _none()


_FLOATS = {"ln": math.log, "log_": math.log, "sin": math.sin, "cos": math.cos, "tan": math.tan, "arctan": math.atan,
           "arcsin": math.asin, "arccos": math.acos, "exp": math.exp}  # fmt: skip


def _none() -> float:
    raise ValueError("no value")


def _low(part: Interval) -> tuple[float, bool]:
    return value_of(part.low) or 0.0, not part.closed[0]


def _high(part: Interval) -> tuple[float, bool]:
    return value_of(part.high) or 0.0, part.closed[1]


def _union(sets: list[Set]) -> Set:
    parts = sorted((part for one in sets for part in one), key=_low)
    merged: list[Interval] = []
    for part in parts:
        if merged and (
            _high(merged[-1])[0] > _low(part)[0]
            or (_high(merged[-1])[0] == _low(part)[0] and (merged[-1].closed[1] or part.closed[0]))
        ):
            last = merged.pop()
            end = max(last, part, key=_high)
            merged.append(Interval(last.low, end.high, (last.closed[0], end.closed[1])))
        else:
            merged.append(part)
    return tuple(merged)


def _complement(one: Set) -> Set:
    parts: list[Interval] = []
    low, closed = EVERYTHING[0].low, False
    for part in one:
        gap = _interval(low, part.low, (closed, not part.closed[0])) if value_of(part.low) != -math.inf else None
        parts.extend(gap or ())
        low, closed = part.high, not part.closed[1]
    if value_of(low) != math.inf:
        parts.extend(_interval(low, _INFINITE, (closed, False)) or ())
    return tuple(parts)


def _intersection(sets: list[Set]) -> Set:
    found = sets[0]
    for other in sets[1:]:  # De Morgan: the complement of the union of complements
        found = _complement(_union([_complement(found), _complement(other)]))
    return found
