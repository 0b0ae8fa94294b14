r"""Holds the scanner's state: the tokens read, and the open brackets, groups, environments and styles."""

from dataclasses import dataclass, field
from typing import Literal

from deepscaler.rewards.answers.tokens import MAX_DEPTH, Kind, Token, UnreadableError

Style = Literal["text", "roman", "plain"]
Opened = Literal["group", "first", "list", "("] | Style
r"""Kinds of content in a bracket: "first" is the first argument of a fraction, "list" a bare brace (`{1,2}`)."""

_TWO_ARGUMENTS = frozenset({"\\frac", "\\binom"})
_BEFORE_A_LIST = frozenset({"=", ",", "\\in", "(", "\\cup"})
_LONE_CLOSING = 2
"""Most tokens before a closing bracket without an opening one: `E) 24`."""


@dataclass
class Brackets:
    """Holds the tokens so far, and everything that is open."""

    text: str
    position: int = 0
    tokens: list[Token] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)
    environments: list[str] = field(default_factory=list)
    spaced: bool = False
    """True if white space has been read since the last token."""
    single: bool = False
    r"""True if TeX takes a single digit here: `\frac12` is \frac{1}{2}."""
    listed: int = 0
    """Number of open brackets in which a comma separates items, so `(1,234)` is a pair."""

    def style(self) -> Style:
        """Returns the style of the text at this position."""
        styles: list[Style] = [opened for opened in self.opened if opened in ("text", "roman", "plain")]
        return styles[-1] if styles else "plain"

    def emit(self, kind: Kind, text: str, *, roman: bool | None = None) -> None:
        """Adds a token."""
        upright = self.style() != "plain" if roman is None else roman
        previous = self.tokens[-1].text if self.tokens else ""
        # TeX takes one token for each argument, so \frac12 and \frac{1}2 are 1/2.
        self.single = text in _TWO_ARGUMENTS or (previous in _TWO_ARGUMENTS and text != "{")
        self.tokens.append(Token(kind, text, self.spaced, upright))
        self.spaced = False

    def open(self, opened: Opened) -> None:
        """Opens a bracket or style. Raises UnreadableError if too many are open."""
        if len(self.opened) >= MAX_DEPTH:
            raise UnreadableError("too deep")
        self.listed += opened in ("list", "(")
        self.opened.append(opened)

    def open_brace(self) -> None:
        """Opens a group, an argument or a bare list."""
        previous = self.tokens[-1].text if self.tokens else "("
        opened: Opened = "list" if previous in _BEFORE_A_LIST else "first" if previous in _TWO_ARGUMENTS else "group"
        self.emit("symbol", "{")
        self.open(opened)

    def close_brace(self) -> None:
        """Closes a group or a style."""
        if not self.opened or self.opened[-1] == "(":
            raise UnreadableError("}")
        closed = self.opened.pop()
        self.listed -= closed == "list"
        if closed in ("text", "roman", "plain"):
            # What follows \text{...} is another word, even without a space.
            self.spaced = True
        else:
            self.emit("symbol", "}")
            self.single = closed == "first"

    def open_bracket(self, symbol: str) -> None:
        """Opens a bracket that is a token of its own."""
        self.emit("symbol", symbol)
        self.open("(")

    def close_bracket(self, symbol: str) -> None:
        """Closes a bracket; `(a,b]` is one pair."""
        if symbol == ")" and self.opened in ([], ["text"]) and len(self.tokens) <= _LONE_CLOSING:
            self.emit("symbol", symbol)
            return
        if not self.opened or self.opened.pop() != "(":
            raise UnreadableError(symbol)
        self.listed -= 1
        self.emit("symbol", symbol)
