r"""The shape of an answer: a scalar, or a list, set, tuple, interval, union or matrix of smaller answers.

3\pm2\sqrt{2}              list   3+2\sqrt{2} | 3-2\sqrt{2}
x \in (-\infty,1]          tuple  "(" "]"  -\infty | 1
19, 46, and 82             list   19 | 46 | 82
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from deepscaler.rewards.answers.numbers import parse_number
from deepscaler.rewards.answers.units import split_unit

Kind = Literal["scalar", "list", "set", "tuple", "union", "matrix"]

MAX_ITEMS = 200
MAX_SIGNS = 4
r"""Plus-minus signs of one item, which has two to this power of values."""

_BRACKETS = {"(": ")[", "[": "])", "{": "}"}
_AND = re.compile(
    r"\\text\s*\{\s*,?\s*(?:and|or)\s*,?\s*\}|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])|\\(?:lor|land|vee|wedge)\b"
)
_ASSIGNED = re.compile(r"^[a-zA-Z](?:_\w)?\s*=\s*")
_MEMBER = re.compile(r"^[a-zA-Z](?:_\w)?\s*\\in\s*(?=[\[(\\{])")
_MATRIX = re.compile(
    r"^\(?\s*\\begin\{([pbBvV]?(?:small)?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}\s*\)?$", re.DOTALL
)
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![a-zA-Z])")
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Form:
    """A shape and its parts; `delimiters` tells (a,b) from [a,b) and a determinant from a matrix."""

    kind: Kind
    items: tuple[str, ...]
    delimiters: str = ""


def parse_form(text: str) -> Form:
    """The outermost shape of a normalised answer."""
    text = _MEMBER.sub("", text).strip()
    if parse_number(split_unit(_ASSIGNED.sub("", text))[0]) is not None:
        return Form("scalar", (text,))
    if matrix := _MATRIX.match(text):
        rows = [row for row in re.split(r"\\\\", matrix[2]) if row.strip()]
        cells = [cell.strip() for row in rows for cell in row.split("&")]
        determinant = "|" if matrix[1].startswith(("v", "V")) else ""
        return Form("matrix", tuple(cells), f"{determinant}{len(rows)}")
    parts = split_top_level(_AND.sub(" , ", text), ",;")
    if len(parts) > 1:
        return Form("list", _with_both_signs(_carry_names(parts)))
    text = parts[0] if parts else text
    union = re.split(r"\\cup(?![a-zA-Z])", text)
    if len(union) > 1:
        return Form("union", tuple(part.strip() for part in union))
    versions = both_signs(text)
    if len(versions) > 1:
        return Form("list", tuple(versions))
    return _enclosed(text) or Form("scalar", (text,))


def split_top_level(text: str, separators: str) -> list[str]:
    """The non-empty parts of a text between separators that stand inside no bracket."""
    parts, depth, start = [], 0, 0
    for index, character in enumerate(text):
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth = max(0, depth - 1)
        elif character in separators and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip(" \\")]


def _enclosed(text: str) -> Form | None:
    r"""The form of `(a,b]`, `\{a,b\}`, `{a,b}` or `(a)`; None if the brackets do not enclose all of it."""
    opening, closing = text[:1], text[-1:]
    is_set = text.startswith("\\{") and text.endswith("\\}")
    if is_set:
        inner = text[2:-2]
    elif opening in _BRACKETS and closing in _BRACKETS[opening] and _closes_at_end(text):
        inner = text[1:-1]
    else:
        return None
    items = tuple(split_top_level(inner, ",;"))
    if len(items) > MAX_ITEMS:
        return None
    if is_set and len(items) == 1:
        return parse_form(items[0])
    if is_set or opening == "{":
        return Form("set", _with_both_signs(items))
    if len(items) == 1:
        return parse_form(items[0]) if (opening, closing) == ("(", ")") else None
    return Form("tuple", items, opening + closing) if items else None


def _closes_at_end(text: str) -> bool:
    depth = 0
    for index, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth == 0:
            return index == len(text) - 1
    return False


def both_signs(text: str) -> list[str]:
    r"""`3\pm x` -> `3+x`, `3-x`; each of several `\pm` has its own sign, unless a `\mp` ties them together."""
    count = len(_PLUS_MINUS.findall(text))
    if not count or count > MAX_SIGNS or text[:2] == "\\{" or _PLUS_MINUS.search(text.rpartition("=")[0]):
        return [text]
    if "\\mp" in text:
        return [_choose_signs(text, sign * count) for sign in "+-"]
    return [_choose_signs(text, signs) for signs in product("+-", repeat=count)]


def _choose_signs(text: str, signs: Sequence[str]) -> str:
    """The text with its plus-minus signs decided; a leading plus is dropped."""
    for sign in signs:
        match = _PLUS_MINUS.search(text)
        assert match is not None
        before, after = text[: match.start()].rstrip(), text[match.end() :].strip()
        is_plus = (sign == "+") == (match.group() == "\\pm")
        is_leading = not before or before[-1] in "=([{,"
        text = f"{before}{'-' if not is_plus else '' if is_leading else '+'}{after}"
    return text


def _with_both_signs(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(version for item in items for version in both_signs(item))


def _carry_names(parts: list[str]) -> list[str]:
    """`x=1, 2` means x=1 and x=2: the name is dropped from the first, so that all parts read alike."""
    named = [bool(re.search(r"[a-zA-Z].*=", part)) for part in parts]
    if named[0] and not any(named[1:]):
        return [parts[0].rpartition("=")[2].strip(), *parts[1:]]
    return parts
