"""Finds golds that no answer can match. Training on one teaches nothing, and evaluating on one costs a point."""

import re
from typing import Literal

from deepscaler.rewards.answers.reader import span_of
from deepscaler.rewards.answers.scanner import tokenize
from deepscaler.rewards.answers.tokens import MAX_LENGTH, UnreadableError
from deepscaler.rewards.answers.vocabulary import NO_VALUES

Unreadable = Literal[
    "gold is a figure", "gold is not a value", "gold is too long to compare", "gold has unbalanced brackets"
]

_FIGURE = re.compile(r"\[asy\]|\\includegraphics|\\begin\{(?:tikzpicture|asy|figure)\}|!\[|https?://|<img\b|see figure")
_NO_VALUE = re.compile(
    r"(?:\W|text|dots)*(?:proof|proven|see (?:the )?(?:solution|proof)|answers? (?:may )?var(?:y|ies)|n/?a|null)?\W*"
)


def unreadable(gold: str) -> Unreadable | None:
    """Returns why no answer could ever equal a gold; None if one could."""
    if len(gold) > MAX_LENGTH:
        return "gold is too long to compare"
    if _FIGURE.search(gold.lower()):
        return "gold is a figure"
    try:
        tokens = tokenize(gold)
        span_of(tokens)
    except UnreadableError:
        return "gold has unbalanced brackets"
    # A gold of signs alone, such as `$=$`, is not a value.
    says = any(token.kind in ("number", "letter", "word") for token in tokens) or any(
        token.text in ("\\emptyset", "\\{") or (token.text[1:].isalpha() and token.text not in NO_VALUES)
        for token in tokens
    )
    return "gold is not a value" if not says or _NO_VALUE.fullmatch(gold.strip().lower()) else None
