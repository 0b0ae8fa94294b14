r"""Plus-minus signs: `3\pm x` is 3+x and 3-x, each of several signs its own, unless a `\mp` ties them together."""

from collections.abc import Sequence
from itertools import product

from deepscaler.rewards.answers.nodes import Node, negated
from deepscaler.rewards.answers.tokens import UnreadableError

MAX_SIGNS = 4
r"""Plus-minus signs of one item, which has two to this power of values."""


def with_both_signs(items: Sequence[Node]) -> tuple[Node, ...]:
    """Returns the items of a list, those with a plus-minus sign once for each of their values."""
    return tuple(version for item in items for version in _both_signs(item))


def expanded(node: Node) -> Node:
    r"""Returns `3\pm x` as a list of both; lists and sets have expanded their items."""
    versions = _both_signs(node) if node.kind not in ("list", "set", "relation") else [node]
    return versions[0] if len(versions) == 1 else Node("list", tuple(versions), "or")


def _both_signs(node: Node) -> list[Node]:
    r"""Returns `3\pm x` as `3+x` and `3-x`; each of several has its own sign, unless a `\mp` ties them."""
    kinds: list[str] = []
    _count_signs(node, kinds)
    if not kinds:
        return [node]
    if len(kinds) > MAX_SIGNS:
        raise UnreadableError("too many signs")
    if "mp" in kinds:
        choices = [tuple(sign if kind == "pm" else -sign for kind in kinds) for sign in (1, -1)]
    else:
        choices = list(product((1, -1), repeat=len(kinds)))
    return [_choose_signs(node, list(choice)) for choice in choices]


def _count_signs(node: Node, kinds: list[str]) -> None:
    if node.kind in ("pm", "mp"):
        kinds.append(node.kind)
    for part in node.args:
        _count_signs(part, kinds)


def _choose_signs(node: Node, signs: list[int]) -> Node:
    """Returns the tree with its plus-minus signs decided, in the order in which they stand."""
    if node.kind in ("pm", "mp"):
        sign = signs.pop(0)
        inner = _choose_signs(node.args[0], signs)
        return inner if sign > 0 else negated(inner)
    return Node(node.kind, tuple(_choose_signs(part, signs) for part in node.args), node.value) if node.args else node
