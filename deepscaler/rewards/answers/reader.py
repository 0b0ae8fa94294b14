"""Represents spans of tokens: where brackets close, and which separators are outside all brackets."""

from collections.abc import Container
from dataclasses import dataclass

from deepscaler.rewards.answers.tokens import Token, UnreadableError

_CLOSING = {"{": "}", "(": ")]", "[": ")]", "\\{": "\\}"}


@dataclass(frozen=True, slots=True)
class Span:
    """Holds some tokens of an answer, with the brackets of the whole."""

    tokens: tuple[Token, ...]
    closes: dict[int, int]
    lone: frozenset[str]
    """Letters that stand alone somewhere, so `p(1-p)` is a product and not a value of a function p."""
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def at(self, index: int) -> Token | None:
        """Returns the token at an index of the whole answer; None outside the span."""
        # Indices are of the whole answer, so that no rule has to copy or shift what it passes on.
        return self.tokens[index] if self.start <= index < self.end else None

    def between(self, start: int, end: int) -> "Span":
        """Returns a part of the span."""
        return Span(self.tokens, self.closes, self.lone, start, end)

    def top_level(self) -> list[int]:
        """Returns the indices of the tokens outside all brackets, including opening brackets."""
        indices, index = [], self.start
        while index < self.end:
            indices.append(index)
            index = self.closes.get(index, index) + 1
        return indices

    def split(self, separators: Container[str]) -> list["Span"]:
        """Returns the parts between separators outside all brackets; a part may be empty."""
        parts, start = [], self.start
        for index in self.top_level():
            if self.tokens[index].text in separators and self.tokens[index].kind != "letter":
                parts.append(self.between(start, index))
                start = index + 1
        return [*parts, self.between(start, self.end)]

    def first(self, texts: Container[str]) -> int | None:
        """Returns the index of the first of some tokens outside all brackets."""
        return next((i for i in self.top_level() if self.tokens[i].text in texts), None)

    def texts(self) -> list[str]:
        """Returns the text of every token."""
        return [token.text for token in self.tokens[self.start : self.end]]

    def spelling(self) -> str:
        """Returns the tokens in one spelling, words in lower case."""
        tokens = self.tokens[self.start : self.end]
        return " ".join(t.text.lower() if t.kind == "word" else t.text for t in tokens if t.text not in "{}")


def span_of(tokens: tuple[Token, ...]) -> Span:
    """Returns the span of all tokens. Raises UnreadableError if brackets do not match."""
    closes: dict[int, int] = {}
    opened: list[tuple[int, str]] = []
    for index, token in enumerate(tokens):
        if token.text in _CLOSING:
            opened.append((index, _CLOSING[token.text]))
        elif token.text.startswith("\\begin:"):
            opened.append((index, token.text.replace("begin", "end", 1)))
        elif token.text in (")", "]", "}", "\\}") or token.text.startswith("\\end:"):
            if not opened:
                if index <= 2:  # `E) 24`
                    continue
                raise UnreadableError(token.text)
            start, closing = opened.pop()
            if token.text not in (closing if closing != ")]" else (")", "]")):
                raise UnreadableError(token.text)
            closes[start] = index
    if opened:
        raise UnreadableError("unbalanced")
    end = len(tokens)
    lone = frozenset(
        token.text
        for index, token in enumerate(tokens)
        if token.kind == "letter" and (index + 1 == end or tokens[index + 1].text not in ("(", "'", "_"))
    )
    return Span(tokens, closes, lone, 0, end)
