r"""Equations and inequalities as text: their sides, and which side only names the other.

x = 2+3 = 5        sides  x | 2+3 | 5, named x
f(n) = 2n          sides  f(n) | 2n, named f(n)
5 > x \ge 2        ascending  2 \le x < 5
"""

import re

from deepscaler.rewards.answers.numbers import parse_number
from deepscaler.rewards.answers.structure import split_top_level

RELATION = re.compile(r"[<>]|\\(?:le|ge|ne|lt|gt|in|equiv|cong|parallel|perp)(?![a-zA-Z])")
_DESCENDING = re.compile(r"(>|\\ge(?![a-zA-Z])|\\gt(?![a-zA-Z]))")
_NOT_DESCENDING = re.compile(r"<|\\(?:le|lt|ne|in)(?![a-zA-Z])")
_MIRRORED = {">": "<", "\\gt": "<", "\\ge": "\\le "}
_NAME = re.compile(r"[^\d+\-*/^<>=\\&]*(?:\\[a-zA-Z]+[^\d+\-*/^<>=\\&]*)*")
_FUNCTION = re.compile(r"([a-zA-Z])\((\w)\)")
_SEVERAL = re.compile(r"\\\\|\\(?:Rightarrow|Leftrightarrow|Longrightarrow|implies|iff|to|rightarrow)(?![a-zA-Z])")
_NEXT_NAME = re.compile(r"[\d})]\s+[a-zA-Z](?:_\w)?$")
_SUBSCRIPT = re.compile(r"_(?:\{[^{}]*\}|\w)")


def sides(text: str) -> list[str]:
    r"""The sides of an equation or a chain of them, the name first: `5 = x` -> ["x", "5"].

    Several equations in a row (`x=4 \Rightarrow x=5`, `x=4=5`) have no sides: a list of candidates has no value.
    """
    if RELATION.search(text.replace("\\in", "")) or _SEVERAL.search(text):
        return [text]
    found = split_top_level(text, "=")
    numbers = {number.value for number in map(parse_number, found) if number}
    if any(_NEXT_NAME.search(side) for side in found[1:-1]) or len(numbers) > 1:
        return [text]
    if len(found) == 2 and not is_named(found) and is_named(found[::-1]):
        return found[::-1]
    return found or [text]


def is_named(found: list[str]) -> bool:
    r"""Whether the first side only names the last: `x`, `f(x)`, `|AB|`, `A:B`, `\frac{NO}{BO}`, `S_{12}`."""
    name = re.sub(r"\\(?:quad|text)", "", _SUBSCRIPT.sub("", found[0]))
    return len(found) > 1 and len(name) <= 60 and bool(re.search("[a-zA-Z]", name)) and bool(_NAME.fullmatch(name))


def value_of_assignment(text: str) -> str:
    """What stands after the name in `(p,q)=(3,2)`; the text itself where nothing is named."""
    found = sides(text)
    return found[-1] if len(found) == 2 and is_named(found) and len(split_top_level(text, ",;")) == 1 else text


def names(items: tuple[str, ...]) -> list[str]:
    """The name of every item that has one, subscripts aside."""
    return [_SUBSCRIPT.sub("", found[0]) for found in map(sides, items) if is_named(found)]


def in_terms_of(gold: list[str], answer: list[str]) -> str | None:
    """The answer's value in the gold's variable; None if the two name different things.

    `y=2x` and `f(x)=2x` say the same, and so do `f(n)=2n` and `f(x)=2x`; `f(x)` and `g(x)` do not.
    """
    answer_name, gold_name = (re.sub(r"\s", "", found[0]) for found in (answer, gold))
    if answer_name == gold_name:
        return answer[-1]
    function, wanted = _FUNCTION.fullmatch(answer_name), _FUNCTION.fullmatch(gold_name)
    if function and wanted and function[1] == wanted[1]:
        return re.sub(rf"(?<![a-zA-Z\\]){function[2]}(?![a-zA-Z])", wanted[2], answer[-1])
    return answer[-1] if (function and gold_name == "y") or (wanted and answer_name == "y") else None


def ascending(text: str) -> str:
    """`5 > x > 2` as `2 < x < 5`; other texts as they are."""
    if _NOT_DESCENDING.search(text) or not _DESCENDING.search(text):
        return text
    parts = _DESCENDING.split(text)
    return "".join(_MIRRORED.get(part.strip(), part) for part in reversed(parts))
