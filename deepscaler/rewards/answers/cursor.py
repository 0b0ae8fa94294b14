"""Tracks a position in a span of tokens, from which the rules of the grammar take their tokens."""

from abc import ABC, abstractmethod
from typing import Self

from deepscaler.rewards.answers.nodes import Node
from deepscaler.rewards.answers.reader import Span
from deepscaler.rewards.answers.tokens import MAX_DEPTH, Token, UnreadableError


class Cursor(ABC):
    """Holds the position of a parser in its span."""

    def __init__(self, span: Span, depth: int = 0, *, upright: bool = True) -> None:
        self.bound(depth)
        self.span, self.index, self.depth = span, span.start, depth
        self.upright = upright
        """True if a single letter must be upright to be a unit; in `5 h 30 min` it need not be."""

    def peek(self, ahead: int = 0) -> Token | None:
        """Returns a token without taking it; None at the end."""
        return self.span.at(self.index + ahead)

    def text(self, ahead: int = 0) -> str:
        """Returns a token's text without taking it; empty at the end."""
        token = self.span.at(self.index + ahead)
        return token.text if token else ""

    def take(self) -> Token:
        """Returns the next token and steps over it."""
        token = self.peek()
        if token is None:
            raise UnreadableError("ends too early")
        self.index += 1
        return token

    def take_sign(self) -> str:
        """Returns a plus or minus and steps over it; empty if there is none."""
        return self.take().text if self.text() in ("+", "-") else ""

    def inside(self, opening: int) -> Node:
        """Returns the content of a bracket and steps behind it."""
        end = self.span.closes[opening]
        node = self.at(self.span.between(opening + 1, end)).parse()
        self.index = end + 1
        return node

    def group(self) -> Span:
        """Returns the span of the group or the single token that comes next, not taken."""
        if self.text() == "{":
            return self.span.between(self.index + 1, self.span.closes[self.index])
        return self.span.between(self.index, min(self.index + 1, self.span.end))

    def skip_group(self) -> None:
        """Steps over the group or the single token that comes next."""
        self.index = self.span.closes[self.index] + 1 if self.text() == "{" else self.index + 1

    def name(self) -> str:
        """Returns a subscript as a name and steps over it; a subscript distinguishes symbols and is not evaluated."""
        if self.text() != "{":
            return self.take().text
        name = "".join(text for text in self.group().texts() if text not in ("{", "}"))
        self.skip_group()
        return name

    def at(self, span: Span) -> Self:
        """Returns a parser of another span, one level deeper."""
        return type(self)(span, self.depth + 1)

    def deeper(self) -> None:
        r"""Counts a level of an argument without brackets (`\\sqrt\\sqrt 2`)."""
        self.depth += 1
        self.bound(self.depth)

    @staticmethod
    def bound(depth: int) -> None:
        """Raises UnreadableError beyond the depth that Python's stack allows."""
        if depth > 2 * MAX_DEPTH:
            raise UnreadableError("too deep")

    @abstractmethod
    def parse(self) -> Node:
        """Returns the tree of the whole span. Raises UnreadableError if it follows no rule."""

    @abstractmethod
    def product(self) -> Node:
        """Returns the factors up to a sign."""

    @abstractmethod
    def power(self) -> Node:
        """Returns an atom with its suffixes and exponents."""

    @abstractmethod
    def argument(self, *, signed: bool = False) -> Node:
        r"""Returns the argument that TeX takes after `\frac`, `\sqrt` or `^`: a group or a single token."""
