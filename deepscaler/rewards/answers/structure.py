r"""Finds the shape of an answer: a scalar, a relation, or a list, set, tuple, interval, union or matrix of answers.

3\pm2\sqrt{2}              list   3+2\sqrt{2} | 3-2\sqrt{2}
x \in (-\infty,1]          relation "\in"  x | tuple "(]"  -\infty | 1
19, 46, and 82             list   19 | 46 | 82
"""

from functools import lru_cache
from itertools import islice

from deepscaler.rewards.answers.chains import is_name
from deepscaler.rewards.answers.forms import clock, column_rows
from deepscaler.rewards.answers.introductions import compound_quantity, without_introduction
from deepscaler.rewards.answers.nodes import Node, walk
from deepscaler.rewards.answers.notes import Note, split_note
from deepscaler.rewards.answers.reader import Span, span_of
from deepscaler.rewards.answers.scanner import tokenize
from deepscaler.rewards.answers.signs import expanded, with_both_signs
from deepscaler.rewards.answers.tokens import Token, UnreadableError
from deepscaler.rewards.answers.values import LIST, MAX_ITEMS, read_value
from deepscaler.rewards.answers.vocabulary import DENIALS, SEPARATORS

MAX_NAME = 60
"""Most tokens of a name for a value."""

RELATIONS = frozenset(
    {"=", "<", ">"}
    | {f"\\{name}" for name in ("lt", "gt", "le", "ge", "ne", "in", "notin", "equiv", "approx", "sim", "to", "mid")}
    | {f"\\{name}" for name in ("nmid", "parallel", "perp", "cong", "propto", "subset", "subseteq")}
    | {"\\Rightarrow", "\\Leftrightarrow"}
)
_CANONICAL = {"\\not=": "\\ne", "\\not\\in": "\\notin", "\\lt": "<", "\\gt": ">"}
_MIRRORED = {">": "<", "\\ge": "\\le"}
_OR, _AND = frozenset({"or", "\\lor", "或", "或者"}), frozenset({"and", "\\land", "且", "和"})
_NO_NAME = frozenset({",", ";", "\\not", "\\lnot", "\\lor", "\\cancel", "\\ldots"})


def read(text: str) -> tuple[Node, Note | None]:
    """Returns an answer's tree and the note on its domain. Raises UnreadableError only beyond the bounds."""
    return _read(tokenize(text))


@lru_cache(maxsize=4096)
def _read(tokens: tuple[Token, ...]) -> tuple[Node, Note | None]:
    try:
        span = without_introduction(span_of(tokens))
        if found := compound_quantity(span):
            return found, None
        core, note = split_note(span)
        return expanded(read_span(core)), note
    except RecursionError as error:  # the depth is bounded, but the caller may have used up the stack
        raise UnreadableError("too deep") from error


def read_span(span: Span) -> Node:
    """Returns the tree of a span; a span that follows no rule equals only its own spelling."""
    try:
        return _read_list(span)
    except UnreadableError:
        return Node("words", (), _spelling(span))


def _spelling(span: Span) -> str:
    """Returns the words and signs of a span in a normalized spelling, with spaces before numbers."""
    tokens = [t for t in span.tokens[span.start : span.end] if t.text not in ("{", "}", ".", '"')]
    texts = [t.text.lower() if t.kind == "word" else t.text for t in tokens]
    return "".join(f" {text}" if text[:1].isdigit() else text for text in texts).strip()


def _read_list(span: Span) -> Node:
    if not len(span):
        return Node("words", (), "")
    if (rows := column_rows(span)) is not None:
        span = rows
    found = {span.tokens[i].text for i in span.top_level() if span.tokens[i].kind != "letter"}
    separators = {text for text in found if text in LIST or text.lower() in SEPARATORS}
    if not separators:
        return _read_relation(span)
    if when := clock(span):
        return when
    split = span.split(separators)
    if not (len(split[0]) and len(split[-1])):
        raise UnreadableError("an item is missing")
    parts = [part for part in split if len(part)]
    if not 0 < len(parts) <= MAX_ITEMS:
        raise UnreadableError("no items, or too many")
    if len(parts) == 1:
        return _read_relation(parts[0])
    lower = {separator.lower() for separator in separators}
    how = "or" if lower & _OR else "and" if lower & _AND else ","
    return Node("list", with_both_signs(_carry_names([read_span(part) for part in parts])), how)


def _carry_names(items: list[Node]) -> list[Node]:
    """Returns the items of a list with a leading name repeated: `x=1, 2` means x=1 and x=2."""
    first, others = items[0], items[1:]
    names = first.kind == "relation" and set(first.value) == {"="} and is_name(first.args[0])
    # The name is repeated for each of up to 200 items, so a long one would multiply the work.
    is_short = names and sum(1 for _ in islice(walk(first.args[0]), MAX_NAME + 1)) <= MAX_NAME
    if is_short and not any(item.kind == "relation" for item in others):
        return [first, *(Node("relation", (first.args[0], item), ("=",)) for item in others)]
    return items


def _read_relation(span: Span) -> Node:
    signs: list[str] = []
    sides: list[Span] = []
    start, denied = span.start, ""
    for index in span.top_level():
        text = span.tokens[index].text
        if text == "\\not":
            following = span.at(index + 1)
            if following is None or following.text not in RELATIONS:
                raise UnreadableError("not")
            sides.append(span.between(start, index))
            denied = "\\not"
        elif text in RELATIONS:
            if not denied:
                sides.append(span.between(start, index))
            signs.append(_CANONICAL.get(denied + text, denied + text))
            denied, start = "", index + 1
    last = span.between(start, span.end)
    if not signs:
        return read_value(last, read_span)
    if signs[-1] == "\\equiv" and (modulus := last.first({"\\pmod", "\\bmod"})) is not None:
        signs[-1] = f"\\equiv:{last.between(modulus + 1, last.end).spelling()}"
        last = last.between(start, modulus)
    sides.append(last)
    if signs[0] in ("=", "\\approx", "\\equiv") and not len(sides[0]):  # the box continues the text before it
        sides, signs = sides[1:], signs[1:]
    if not signs:
        return read_value(sides[0], read_span)
    return ascending(Node("relation", (*map(_read_name, sides[:-1]), _read_side(sides[-1])), tuple(signs)))


def _read_side(span: Span) -> Node:
    try:
        return expanded(read_value(span, read_span))
    except UnreadableError:
        return Node("opaque", (Node("words", (), _spelling(span)),), "name" if _may_name(span) else "")


def _read_name(span: Span) -> Node:
    r"""Returns a side that another side follows; `\text{not } x` does not name anything."""
    node = _read_side(span)
    return node if node.kind != "words" or _may_name(span) else Node("opaque", (node,), "")


def _may_name(span: Span) -> bool:
    r"""Returns whether an unreadable side may name a value: `N \bmod 1000`, `\text{Area}`, `P(X \ge 2)`."""
    top = [span.tokens[index] for index in span.top_level()]
    if len(span) > MAX_NAME or any(t.text in _NO_NAME or t.text.lower() in DENIALS | SEPARATORS for t in top):
        return False
    return any(t.kind in ("letter", "word") for t in span.tokens[span.start : span.end])


def ascending(node: Node) -> Node:
    """Returns `5 > x > 2` as `2 < x < 5`, and other relations unchanged."""
    if not set(node.value) <= set(_MIRRORED):
        return node
    return Node("relation", node.args[::-1], tuple(_MIRRORED[sign] for sign in reversed(node.value)))
