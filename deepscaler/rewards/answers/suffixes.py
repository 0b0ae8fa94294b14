r"""Parses suffixes of a number or a symbol: `2\frac13`, `1.5 million`, `60\%`, `60^\circ`, `3^{rd}`, `5!`, `x^2`."""

from fractions import Fraction

from deepscaler.rewards.answers.cursor import Cursor
from deepscaler.rewards.answers.nodes import Node, derivative, number, quantity
from deepscaler.rewards.answers.vocabulary import PERCENT, SCALES

_ORDINALS = {"1": "st", "2": "nd", "3": "rd"}
_TEENS = ("11", "12", "13")
_ENDINGS = ("st", "nd", "rd", "th")
_MARKS = ("'", "\\prime")
_STARS = ("*", "\\cdot", "+", "\\dagger", "\\star", "\\circ")
_MAX_DIGITS = 9
_MAX_SCALES = 3
_SHORT = 4
"""Least tokens of an exponent that is too long to be a mark."""


class Suffixes(Cursor):
    """Implements the rules for suffixes of an atom."""

    def mixed(self, whole: Node) -> Node:
        r"""Returns 3/2 for `1 1/2` and `1\frac{1}{2}`, 1500 for `1.5 thousand`, and all other nodes unchanged."""
        if whole.kind != "number":
            return whole
        # Only a whole number: 1.5\frac{1}{2} is not a mixed number.
        if whole.value.value.denominator == 1 and not whole.value.decimal:
            part, end = self._proper_fraction() if self.text() == "\\frac" else self._slashed_fraction()
            if part and self.span.tokens[self.index - 1].kind == "number":
                self.index = end
                whole = number(whole.value.value + part)
        return self._marked(self._scaled(whole))

    def _proper_fraction(self) -> tuple[Fraction | None, int]:
        """Returns a fraction of two integers below one, read from its tokens.

        Parsing the tokens here and again later would double the time at each depth.
        """
        values, index = [], self.index + 1
        for _ in range(2):
            braced = self.span.at(index) is not None and self.span.tokens[index].text == "{"
            token = self.span.at(index + braced)
            if token is None or not token.text.isdigit() or len(token.text) > _MAX_DIGITS:
                return None, index
            if braced and self.span.closes[index] != index + 2:
                return None, index
            values.append(int(token.text))
            index += 3 if braced else 1
        return (Fraction(values[0], values[1]), index) if 0 < values[0] < values[1] else (None, index)

    def _slashed_fraction(self) -> tuple[Fraction | None, int]:
        token, bottom = self.peek(), self.text(2)
        # The space makes it mixed: in `11/2` there is none.
        if token is None or not token.spaced or self.text(1) != "/" or len(token.text) + len(bottom) > _MAX_DIGITS:
            return None, self.index
        if not token.text.isdigit() or not bottom.isdigit() or not 0 < int(token.text) < int(bottom):
            return None, self.index
        return Fraction(int(token.text), int(bottom)), self.index + 3

    def _scaled(self, value: Node) -> Node:
        for _ in range(_MAX_SCALES):
            token = self.peek()
            word = token.text.lower() if token and token.kind == "word" else ""
            scale = SCALES.get(word) or SCALES.get(word.removesuffix("s"))
            if not scale:
                break
            self.index += 1
            value = number(value.value.value * scale)
        return value

    def _marked(self, value: Node) -> Node:
        """Returns a number with its percent sign, minutes of arc or ordinal ending."""
        token = self.peek()
        if token is None:
            return value
        word = token.text.lower() if token.kind == "word" else token.text if token.text == "%" else ""
        is_two_words = word == "per" and self.text(1).lower() == "cent"
        if word == "%" or word in PERCENT or is_two_words:
            self.index += 1 + is_two_words
            return Node("number", (), value.value._replace(percent=True))
        if token.text in (*_MARKS, '"'):
            return self._minutes(value)
        letters = token.text + self.text(1) if token.kind == "letter" and not token.spaced else token.text
        if _is_ordinal(value, letters) and (token.roman or (token.kind == "letter" and self.peek(2) is None)):
            self.index += 1 + (token.kind == "letter")
        return value

    def _minutes(self, value: Node) -> Node:
        marks = 0
        while self.text() in (*_MARKS, '"'):
            marks += 1 + (self.take().text == '"')
        return quantity(value, "arcminute" if marks == 1 else "arcsecond")

    def postfix(self, node: Node) -> Node:
        """Returns an atom with its factorials, powers, marks and subscripts."""
        start = self.index
        while (token := self.peek()) is not None:
            self.bound(self.index - start)
            if token.text == "!":
                self.index += 1
                node = Node("factorial", (node,))
            elif token.text == "^":
                node = self._raised(node)
            elif token.text in _MARKS and node.kind in ("symbol", "call"):
                self.index += 1
                node = derivative(node)
            elif token.text == "\\degree":
                self.index += 1
                node = self._degrees(node)
            elif token.text == "_" and node.kind == "symbol":
                self.index += 1
                node = self.subscripted(node)
            elif token.text == "_" and node.kind == "power" and node.args[0].kind == "symbol":  # v^2_0
                self.index += 1
                node = Node("power", (self.subscripted(node.args[0]), node.args[1]))
            elif token.text == "%" and node.kind != "number":
                self.index += 1
                node = Node("div", (node, number(100)))
            else:
                break
        return node

    def subscripted(self, symbol: Node) -> Node:
        """Returns a symbol with the subscript that comes next as part of its name."""
        return Node("symbol", (), f"{symbol.value}_{self.name()}")

    def _raised(self, node: Node) -> Node:
        self.index += 1
        inside = self.group()
        texts = inside.texts() if len(inside) < _SHORT else []
        mark = "".join(texts)
        # Some write a degree as a raised letter: 90^o.
        if mark in ("\\circ", "\\degree") or (mark == "o" and node.kind == "number"):
            self.skip_group()
            return self._degrees(node)
        if texts and set(texts) <= set(_MARKS):
            self.skip_group()
            if node.kind == "number":
                return quantity(node, "arcminute" if len(texts) == 1 else "arcsecond")
            for _ in texts:
                node = derivative(node)
            return node
        if node.kind == "number" and _is_ordinal(node, mark):
            self.skip_group()
            return node
        # x^* is another symbol than x, and nothing is raised to a star.
        if mark in _STARS and node.kind == "symbol":
            self.skip_group()
            return Node("symbol", (), f"{node.value}^{mark}")
        return Node("power", (node, self.argument(signed=True)))

    def _degrees(self, node: Node) -> Node:
        following = self.peek(1)
        if self.text() in ("C", "F", "K") and (following is None or following.kind != "letter"):
            return quantity(node, f"degree {self.take().text}")
        return Node("degree", (node,))


def _is_ordinal(node: Node, ending: str) -> bool:
    """Returns whether letters are the right ending of an ordinal: 3rd, but not 5st."""
    if ending not in _ENDINGS or node.value.value.denominator != 1:
        return False
    # 13th, not 13rd: the teens have th.
    digits = str(node.value.value)
    return ending == ("th" if digits[-2:] in _TEENS else _ORDINALS.get(digits[-1], "th"))
