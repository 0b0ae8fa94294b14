r"""Represents the meaning of an answer as a tree: 2x+1 -> add(mul(2, x), 1).

Equal trees have equal meanings. Kinds of scalars: number (value: Number), symbol (value: its name with subscript),
words, add, mul, div, neg, pm, mp, power, root (index, radicand), factorial, function and call (value: name), abs,
degree, quantity (value: unit), opaque (value: its kind; compared by its parts only).
Kinds of collections: list, set, tuple (value: its brackets), union, intersection, minus, matrix (value: rows and
delimiter), builder (variable, condition). Relations: relation (value: the signs between its sides), rows.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple


class Number(NamedTuple):
    """Holds a literal's exact value and its precision."""

    value: Fraction
    step: Fraction = Fraction(0)
    """Value of the last decimal place of a decimal, which may be rounded; 0 for an exact number."""
    percent: bool = False
    """True if a percent sign follows, which graders read both as 28 and as 0.28."""

    @property
    def decimal(self) -> bool:
        """Returns whether the number may be rounded."""
        return bool(self.step)


class Node(NamedTuple):
    """Holds one part of an answer."""

    kind: str
    args: tuple["Node", ...] = ()
    value: Any = None


EMPTY_SET = Node("set")
COLLECTIONS = frozenset({"list", "set", "tuple", "union", "intersection", "minus", "matrix", "builder", "pairs"})
CONSTANTS = frozenset({"e", "i", "\\pi", "\\infty"})


def number(value: int | Fraction) -> Node:
    """Returns the node of a number."""
    return Node("number", (), Number(Fraction(value)))


def negated(node: Node) -> Node:
    """Returns the negation of a node; a number carries its sign itself."""
    if node.kind == "number":
        return Node("number", (), node.value._replace(value=-node.value.value))
    # Never two signs in a row, so that --x and x are one tree.
    return node.args[0] if node.kind == "neg" else Node("neg", (node,))


def walk(node: Node) -> Iterator[Node]:
    """Yields a node and all its descendants."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(current.args)


def symbols(node: Node) -> frozenset[str]:
    """Returns the names of a tree's variables, which e, i, pi and infinity are not."""
    return frozenset(part.value for part in walk(node) if part.kind == "symbol" and part.value not in CONSTANTS)


def product_of(factors: Sequence[Node]) -> Node:
    """Returns the node of a product, or its only factor."""
    return factors[0] if len(factors) == 1 else Node("mul", tuple(factors))


def quantity(value: Node, unit: str) -> Node:
    """Returns the node of a value with a unit of one name."""
    return Node("quantity", (value,), ((unit, 1),))


def derivative(node: Node) -> Node:
    r"""Returns `v'`, `\dot{v}` or `\frac{dv}{dt}` as one new symbol, because nothing here differentiates."""
    if node.kind == "symbol":
        # A space, which no name from a text can hold, separates a symbol from the order of its derivative.
        name, _, order = node.value.partition(" D")
        return Node("symbol", (), f"{name} D{int(order or 0) + 1}")
    if node.kind == "call":
        return Node("call", node.args, f"{node.value} D")
    return Node("opaque", (node,), "\\derivative")
