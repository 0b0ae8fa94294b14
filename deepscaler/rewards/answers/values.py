r"""Reads values without a relation: sets and tuples in brackets, unions, words, the forms of `forms`, or a scalar."""

from collections.abc import Callable

from deepscaler.rewards.answers.expression import Parser
from deepscaler.rewards.answers.forms import base_number, clock, matrix, ratio
from deepscaler.rewards.answers.nodes import EMPTY_SET, Node
from deepscaler.rewards.answers.reader import Span
from deepscaler.rewards.answers.signs import with_both_signs
from deepscaler.rewards.answers.tokens import UnreadableError
from deepscaler.rewards.answers.vocabulary import SEPARATORS

MAX_ITEMS = 200

LIST = frozenset({",", ";", "\\\\", "\\lor", "\\land"}) | SEPARATORS
_SET_SIGNS = {"\\cup": "union", "\\cap": "intersection", "\\setminus": "minus"}
_MIN_WORD = 4
_MAX_DECORATION = 4

Read = Callable[[Span], Node]


def read_value(span: Span, read: Read) -> Node:
    """Returns the tree of a value, whose items `read` reads. Raises UnreadableError if it follows no rule."""
    if not len(span):
        raise UnreadableError("empty")

    def again(part: Span) -> Node:
        return read_value(part, read)

    for sign, kind in _SET_SIGNS.items():
        parts = span.split((sign,))
        if len(parts) > 1:
            return Node(kind, tuple(map(again, parts)))
    found = (
        _set_difference(span, again)
        or _enclosed(span, read)
        or matrix(span, again)
        or base_number(span)
        or clock(span)
        or ratio(span, again)
        or _named_set(span)
        or _tuples(span, again)
        or _words(span)
    )
    return found or Parser(span).parse()


def _set_difference(span: Span, read: Read) -> Node | None:
    r"""Returns the tree of a difference of sets such as `\mathbb{R} - \{1\}`; None for other spans."""
    sign = span.first({"-"})
    after = span.at(sign + 1) if sign is not None else None
    if sign is None or after is None or after.text != "\\{" or span.tokens[span.start].text != "\\mathbb":
        return None
    return Node("minus", (read(span.between(span.start, sign)), read(span.between(sign + 1, span.end))))


def _enclosed(span: Span, read: Read) -> Node | None:
    r"""Returns the tree of `(a,b]`, `\{a,b\}`, `{a,b}` or `(a)`; None if no bracket encloses the whole span."""
    opening, closing = span.tokens[span.start].text, span.tokens[span.end - 1].text
    if span.closes.get(span.start) != span.end - 1 or opening not in ("(", "[", "{", "\\{"):
        return None
    inner = span.between(span.start + 1, span.end - 1)
    if not len(inner):
        return EMPTY_SET if opening == "\\{" else Node("words", (), "")
    if opening == "\\{" and (bar := inner.first(("\\mid", "|", ":"))) is not None and bar > inner.start:
        parts = inner.between(inner.start, bar), inner.between(bar + 1, inner.end)
        return Node("builder", tuple(map(read, parts)))
    split = inner.split((",", ";") if opening in ("(", "[") else LIST)
    items = [part for part in split if len(part)]
    # (,5) may lack its first item: what was meant is not guessed.
    if not (len(split[0]) and len(split[-1])) or (opening in ("(", "[") and len(items) < len(split)):
        raise UnreadableError("an item is missing")
    if len(items) > MAX_ITEMS:
        raise UnreadableError("too many")
    if opening == "\\{" or (opening == "{" and len(items) > 1):
        return Node("set", with_both_signs([read(item) for item in items]))
    holds_matrix = inner.tokens[inner.start].text.startswith("\\begin:")
    if opening == "{" or (len(items) == 1 and ((opening, closing) == ("(", ")") or holds_matrix)):
        return read(inner)
    return Node("tuple", tuple(read(item) for item in items), opening + closing)


def _named_set(span: Span) -> Node | None:
    r"""Returns the tree of `\emptyset`, `\mathbb{R}`, `\mathbb{Z}^+` or the dots in `1, 2, \ldots, n`; else None."""
    texts = [text for text in span.texts() if text not in ("{", "}")] if len(span) < 2 * _MAX_DECORATION else []
    if texts == ["\\emptyset"]:
        return EMPTY_SET
    if texts == ["\\ldots"]:
        return Node("symbol", (), "\\ldots")
    decoration = set(texts[2:])
    if texts[:1] != ["\\mathbb"] or len(texts) > _MAX_DECORATION or not decoration <= {"^", "_", "+", "-", "*"}:
        return None
    return Node("symbol", (), f"\\mathbb{''.join(texts[1:])}")


def _tuples(span: Span, read: Read) -> Node | None:
    """Returns tuples in a row, `(1,2) (3,4)`, as a list, and a name before a tuple, `P(3,5)`, as a point; else None."""
    top = span.top_level()
    are_tuples = [
        span.tokens[i].text in ("(", "[") and span.between(i + 1, span.closes[i]).first({","}) is not None for i in top
    ]
    if len(top) > 1 and all(are_tuples):
        return Node("list", tuple(read(span.between(i, span.closes[i] + 1)) for i in top), ",")
    name = span.tokens[top[0]]
    if are_tuples[1:] == [True] and name.kind == "letter" and name.text.isupper():
        return Node("point", (read(span.between(top[1], span.end)),), name.text)
    return None


def _words(span: Span) -> Node | None:
    """Returns words, even one that the scanner split into letters (`Evelyn`); None for a product such as `ABCD`."""
    tokens = span.tokens[span.start : span.end]
    if any(token.kind not in ("letter", "word") for token in tokens):
        return None
    text = "".join(token.text for token in tokens)
    if all(token.kind == "letter" for token in tokens):
        is_one = not any(token.spaced for token in tokens[1:])
        # ABCD is a product or four points, and xyz a product; a word has a vowel and four letters.
        if len(text) < _MIN_WORD or text.isupper() or not is_one or not set("aeiouAEIOU") & set(text):
            return None
    return Node("words", (), text.lower()) if len(text) > 1 or not text.isascii() else None
