"""Defines the tokens of an answer, and the bounds within which one is read."""

from typing import Literal, NamedTuple

MAX_LENGTH = 4000
"""Most characters of an answer; no competition's answer is longer."""

MAX_DEPTH = 24
"""Most nested brackets; the parser uses at most ten Python frames for each."""

Kind = Literal["number", "letter", "word", "command", "symbol"]


class Token(NamedTuple):
    """Holds one token of an answer."""

    kind: Kind
    text: str
    spaced: bool = False
    """True if white space precedes it."""
    roman: bool = False
    r"""True if it is upright, in `\text{}` or `\mathrm{}`."""


class UnreadableError(ValueError):
    """Signals a text that follows no rule, which equals only itself."""
