"""The signs of an answer, and the bounds within which one is read."""

from typing import Literal, NamedTuple

MAX_LENGTH = 4000
"""Characters; no competition's answer is longer."""

MAX_DEPTH = 24
"""Brackets inside brackets; the parser takes at most ten Python frames for each."""

Kind = Literal["number", "letter", "word", "command", "symbol"]


class Token(NamedTuple):
    """One sign of an answer."""

    kind: Kind
    text: str
    spaced: bool = False
    """White space stands before it."""
    roman: bool = False
    r"""Written upright: in `\text{}` or `\mathrm{}`."""


class UnreadableError(ValueError):
    """The text follows no rule; it equals nothing but itself."""
