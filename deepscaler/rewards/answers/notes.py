r"""Separates notes on a formula's domain, which do not change it: `2^n, n\in\mathbb{N}`, `k\pi (k\in\mathbb{Z})`.

note := ("for" | "where" | "\forall" | "," | "(") words that quantify, and relations on a variable of the formula.
A condition (`if`, `when`, `unless`) or an equation (`k=3`) changes the formula, so it is not a note.
"""

from typing import NamedTuple

from deepscaler.rewards.answers.reader import Span
from deepscaler.rewards.answers.vocabulary import IN_NOTES, QUANTIFIERS

_SIGNS = frozenset({"\\in", "\\ge", "\\le", "\\gt", "\\lt", "<", ">", "\\ne"})
_ALLOWED = _SIGNS | frozenset({"\\mathbb", "\\forall", "\\ldots", ",", "_", "^", "{", "}", "+", "-", "\\{", "\\}",
                               "\\setminus",
                               "*", "(", ")", "\\infty", "\\cdot", "."})  # fmt: skip
_SETS = {"Z": "integer", "N": "natural", "R": "real", "Q": "rational", "C": "complex"}
_WORDS = {"integer": "integer", "integers": "integer", "real": "real", "reals": "real", "natural": "natural"}


class Note(NamedTuple):
    """Holds a formula's variable and the set it ranges over; None unless a note names one set and one variable."""

    domain: str | None = None
    variable: str | None = None


def split_note(span: Span) -> tuple[Span, Note | None]:
    """Returns an answer without the note at its end, and the note."""
    top = span.top_level()
    for position, index in enumerate(top):
        token = span.tokens[index]
        begins = token.text == "\\forall" or (token.kind == "word" and token.text.lower() in QUANTIFIERS)
        if begins and index > span.start:
            end = top[position - 1] if span.tokens[top[position - 1]].text in (",", ";") else index
            core = span.between(span.start, end)
            return (
                (core, _note(span.between(index, span.end)))
                if _is_note(span.between(index, span.end), core)
                else (span, None)
            )
    if len(top) > 1 and span.tokens[top[-1]].text == "(":
        inner, core = span.between(top[-1] + 1, span.end - 1), span.between(span.start, top[-1])
        if (
            core.tokens[core.end - 1].text not in (",", "and", "or")
            and _is_note(inner, core)
            and _says_something(inner)
        ):
            return core, _note(inner)
    return _after_comma(span, top)


def _after_comma(span: Span, top: list[int]) -> tuple[Span, Note | None]:
    commas = [index for index in top if span.tokens[index].text in (",", ";")]
    if not commas:
        return span, None
    texts = [span.tokens[index].text for index in top]
    sign = next((index for index in top if span.tokens[index].text in _SIGNS), span.end)
    if "\\ldots" in texts and "=" in texts:  # n = 1, 2, 3, \ldots
        sign = top[len(texts) - 1 - texts[::-1].index("=")]
    before_sign = max((comma for comma in commas if comma < sign), default=commas[-1])
    for comma in dict.fromkeys((before_sign, commas[-1])):
        core, rest = span.between(span.start, comma), span.between(comma + 1, span.end)
        if _is_note(rest, core) and (_relates(rest) or _counts_on(rest)) and not _relates(core, _SIGNS - {"\\in"}):
            return core, _note(rest)
    return span, None


def _says_something(span: Span) -> bool:
    return (
        _relates(span)
        or _counts_on(span)
        or all(t.kind == "word" and t.text.lower() in IN_NOTES for t in span.tokens[span.start : span.end])
    )


def _counts_on(span: Span) -> bool:
    r"""Returns whether a variable counts without end: `n=1,2,\ldots`. Dots alone mean that a list has more items."""
    return span.first({"="}) is not None and span.first({"\\ldots"}) is not None


def _relates(span: Span, signs: frozenset[str] = _SIGNS) -> bool:
    return span.first(signs) is not None


def _is_note(span: Span, core: Span) -> bool:
    """Returns whether all tokens quantify or relate, and concern a variable of the value and no other."""
    tokens = span.tokens[span.start : span.end]
    if not tokens or not len(core):
        return False
    # n=1,2,\ldots counts without end; n=3 alone is an equation, which changes the formula.
    goes_on = any(token.text == "\\ldots" for token in tokens)
    for token in tokens:
        known = (token.text == "=" and goes_on) or token.text in _ALLOWED or token.kind in ("number", "letter")
        if token.kind == "word":
            known = token.text.lower() in IN_NOTES or token.text.lower() in QUANTIFIERS
        if not known:
            return False
    equals = core.first({"="})
    value = core.between(core.start if equals is None else _last_equals(core) + 1, core.end)
    letters = {t.text for t in core.tokens[value.start : value.end] if t.kind == "letter"}
    if equals is not None and "(" in core.between(core.start, equals).texts():  # f(x)=5 for all x
        letters |= {t.text for t in core.tokens[core.start : equals] if t.kind == "letter"}
    # A note on a letter that the value lacks, such as m\ge1 behind 2^n, is part of the answer.
    about = _letters(span)
    return bool(about & letters) or (not about and not _relates(span))


def _last_equals(core: Span) -> int:
    return max(index for index in core.top_level() if core.tokens[index].text == "=")


def _letters(span: Span) -> set[str]:
    r"""Returns the variables of a note, without letters of `\mathbb{Z}` and without articles."""
    tokens = span.tokens[span.start : span.end]
    found = set()
    for index, token in enumerate(tokens):
        names_set = any(before.text == "\\mathbb" for before in tokens[max(0, index - 2) : index])
        if token.kind == "letter" and not names_set and not (token.roman and token.text in ("a", "s")):
            found.add(token.text)
    return found


def _note(span: Span) -> Note:
    tokens = span.tokens[span.start : span.end]
    letters = _letters(span)
    variable = next(iter(letters)) if len(letters) == 1 else None
    for index, token in enumerate(tokens):
        if token.text == "\\mathbb" and index + 1 < len(tokens):
            name = next((t.text for t in tokens[index + 1 :] if t.kind == "letter"), "")
            positive = any(t.text in ("+", "*", ">", "\\ge") for t in tokens[index + 1 :])
            domain = _SETS.get(name)
            return Note("natural" if domain == "integer" and positive else domain, variable)
        if token.kind == "word" and token.text.lower() in _WORDS:
            positive = any(t.text.lower() in ("positive", "nonnegative", "non-negative") for t in tokens)
            domain = _WORDS[token.text.lower()]
            return Note("natural" if domain == "integer" and positive else domain, variable)
    return Note()
