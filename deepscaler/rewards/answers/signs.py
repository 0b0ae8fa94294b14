r"""Expands plus-minus signs: `3\pm x` is 3+x and 3-x. Several signs are independent, unless a `\mp` ties them."""

from collections.abc import Sequence
from itertools import product

from deepscaler.rewards.answers.nodes import Node, negated
from deepscaler.rewards.answers.tokens import UnreadableError

MAX_SIGNS = 4
r"""Most plus-minus signs of one item, which has two to this power of values."""


def with_both_signs(items: Sequence[Node]) -> tuple[Node, ...]:
    """Returns the items of a list, with one item for each value of those with a plus-minus sign."""
    return tuple(version for item in items for version in _both_signs(item))


def expanded(node: Node) -> Node:
    r"""Returns `3\pm x` as a list of both values; lists and sets have already expanded their items."""
    versions = _both_signs(node) if node.kind not in ("list", "set", "relation") else [node]
    return versions[0] if len(versions) == 1 else Node("list", tuple(versions), "or")


def _both_signs(node: Node) -> list[Node]:
    r"""Returns `3\pm x` as `3+x` and `3-x`; several signs are independent, unless a `\mp` ties them."""
    kinds: list[str] = []
    _count_signs(node, kinds)
    if not kinds:
        return [node]
    # 2^n values: thirty signs in an answer would fill the memory.
    if len(kinds) > MAX_SIGNS:
        raise UnreadableError("too many signs")
    if "mp" in kinds:
        # \mp means the other sign of the same choice, so a \mp ties all signs together.
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
    """Returns the tree with its plus-minus signs replaced by the given ones, in order."""
    if node.kind in ("pm", "mp"):
        sign = signs.pop(0)
        inner = _choose_signs(node.args[0], signs)
        return inner if sign > 0 else negated(inner)
    return Node(node.kind, tuple(_choose_signs(part, signs) for part in node.args), node.value) if node.args else node
