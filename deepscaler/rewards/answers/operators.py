r"""Parses commands that take arguments: fractions, roots, functions, accents, and sums or integrals left open."""

from abc import abstractmethod
from itertools import pairwise

from deepscaler.rewards.answers.nodes import Node, derivative, negated, number, product_of
from deepscaler.rewards.answers.suffixes import Suffixes
from deepscaler.rewards.answers.tokens import Token, UnreadableError
from deepscaler.rewards.answers.vocabulary import ACCENTS, FUNCTIONS, NO_VALUES, PENDING

_INVERTIBLE = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
_CALLABLE = frozenset({"\\Gamma", "\\phi", "\\zeta"})
_STEPS = {"\\lfloor": ("\\rfloor", "floor"), "\\lceil": ("\\rceil", "ceil")}
_END_OF_ARGUMENT = frozenset({"\\cdot", "\\times", "/", "("})
_UNIT_VECTORS = {"i": "i", "j": "j", "k": "k", "\\imath": "i", "\\jmath": "j"}
r"""\mathbf{i} and \hat{i} are two ways to write one vector."""
_ORDERS = frozenset("123456789")
_MAX_HEAD = 8
"""Most tokens at the start of a numerator to search for `d^{2}`."""


class Operators(Suffixes):
    """Implements the rules that begin with a command."""

    def command(self, name: str) -> Node:
        """Returns the tree of a command that was just taken, with its arguments."""
        if name == "\\frac":
            return self._differential() or Node("div", (self.argument(), self.argument()))
        if name == "\\binom":
            return Node("binom", (self.argument(), self.argument()))
        if name in ("\\sqrt", "\\cbrt"):
            return self._root(number(2 if name == "\\sqrt" else 3))
        if name in _STEPS:
            return self._step(name)
        if name in FUNCTIONS:
            return self._function(FUNCTIONS[name])
        if name in ACCENTS:
            return self._accent(name)
        if name in PENDING:
            return self._pending(name)
        if name in NO_VALUES or not name[1:].isalpha():
            raise UnreadableError(name)
        following = self.peek()
        if name == "\\Delta" and following and following.kind == "letter":
            return self.postfix(Node("symbol", (), f"{name} {self.take().text}"))
        node = Node("symbol", (), name)
        if self.text() == "_":
            self.index += 1
            node = self.subscripted(node)
        return self.call(node) if self.text() == "(" and name in _CALLABLE else node

    def _differential(self) -> Node | None:
        r"""Returns \frac{dv}{dt} as the derivative of v; None for any other fraction."""
        after = self.span.closes.get(self.index, self.span.end) + 1
        below = self.span.at(after)
        if self.text() != "{" or below is None or below.text != "{":
            return None
        start, end, close = self.index + 1, after - 1, self.span.closes[after]
        # Only its beginning, because every fraction asks this, and a nested one would be read once for each level.
        head = [
            text for text in self.span.between(start, min(end, start + _MAX_HEAD)).texts() if text not in ("{", "}")
        ]
        bottom = [text for text in self.span.between(after + 1, close).texts() if text not in ("{", "}")]
        if not head or head[0] not in ("d", "\\partial") or len(bottom) < 2 or bottom[0] != head[0]:
            return None
        order = int(head[2]) if head[1:2] == ["^"] and head[2:3] and head[2] in _ORDERS else 0
        if _order(bottom) != max(order, 1):
            return None
        start += 1 + ((4 if self.span.tokens[start + 2].text == "{" else 2) if order else 0)
        self.index = close + 1
        if start >= end:
            return Node("symbol", (), f"D{max(order, 1)}/{''.join(bottom)}")
        inner = self.at(self.span.between(start, end)).parse()
        if head[0] == "\\partial":
            return Node("opaque", (inner, Node("words", (), _variables(bottom))), "\\derivative")
        for _ in range(max(order, 1)):
            inner = derivative(inner)
        return self.call(inner) if self.text() == "(" and inner.kind == "symbol" else inner

    def _root(self, index: Node) -> Node:
        if self.text() == "[":
            index = self.inside(self.index)
        return Node("root", (index, self.inside(self.index) if self.text() == "(" else self.argument()))

    def _step(self, name: str) -> Node:
        closing, function = _STEPS[name]
        depth, end = 1, self.index
        while end < self.span.end:
            text = self.span.tokens[end].text
            depth += (text == name) - (text == closing)
            if depth == 0:
                break
            end = self.span.closes.get(end, end) + 1
        if end >= self.span.end:
            raise UnreadableError(name)
        node = self.at(self.span.between(self.index, end)).parse()
        self.index = end + 1
        return Node("function", (node,), function)

    def _function(self, name: str) -> Node:
        base: Node | None = None
        exponent: Node | None = None
        while self.text() in ("_", "^"):
            if self.take().text == "_":
                base = self.argument()
            else:
                exponent = self.argument(signed=True)
        if name == "log10":
            name, base = "log", number(10)
        arguments = self._arguments()
        # \sin^{-1} x is the inverse function, while \sin^{2} x is a power.
        if exponent == number(-1) and name in _INVERTIBLE:
            name, exponent = f"arc{name}", None
        if base == Node("symbol", (), "e") and name == "log":
            name, base = "ln", None
        if name == "exp" and len(arguments) == 1 and not base and not exponent:
            return Node("power", (Node("symbol", (), "e"), arguments[0]))
        node = Node("function", (*arguments, base) if base else arguments, f"{name}_" if base else name)
        return Node("power", (node, exponent)) if exponent else node

    def _arguments(self) -> tuple[Node, ...]:
        opening = self.text()
        if opening not in ("(", "[", "\\{", "{"):
            return (self._bare_argument(),)
        end = self.span.closes[self.index]
        if (opening, self.span.tokens[end].text) in (("(", "]"), ("[", ")")):
            raise UnreadableError("half open")
        parts = self.span.between(self.index + 1, end).split((",", ";"))
        self.index = end + 1
        return tuple(self.at(part).parse() for part in parts)

    def _bare_argument(self) -> Node:
        r"""Returns a function's argument without brackets: in `\sin 2x` all factors up to a sign, dot or function."""
        self.deeper()
        sign = self.take_sign()
        factors = [self.mixed(self.power())]
        while (token := self.peek()) and token.text not in FUNCTIONS and token.text not in _END_OF_ARGUMENT:
            if not self.begins_factor(token):
                break
            if token.kind == factors[-1].kind == "number":
                raise UnreadableError("two numbers")
            factors.append(self.power())
        node = product_of(factors)
        following = self.peek(1)
        # \sin \pi/6 is meant as \sin(\pi/6); before a letter, as in \sin x/y, the slash divides the sine.
        if self.text() == "/" and following and following.kind == "number":
            self.index += 1
            node = Node("div", (node, self.power()))
        self.depth -= 1
        return negated(node) if sign == "-" else node

    def _accent(self, name: str) -> Node:
        node = self.argument()
        if name in ("\\hat", "\\vec") and node.kind == "symbol" and node.value in _UNIT_VECTORS:
            return Node("symbol", (), _UNIT_VECTORS[node.value])
        if name not in ("\\dot", "\\ddot"):
            return Node("opaque", (node,), name)
        for _ in range(1 + (name == "\\ddot")):
            node = derivative(node)
        if self.text() == "_" and node.kind == "symbol":
            self.index += 1
            node = self.subscripted(node)
        return node

    def _pending(self, name: str) -> Node:
        """Returns a sum, integral or limit with its bounds and the whole term behind it."""
        bounds: list[Node] = []
        while self.text() in ("_", "^"):
            sign = self.take().text
            # As text: nothing here sums or integrates, so a sum equals only one with the same bounds.
            bounds.append(Node("words", (), f"{sign}{self.name()}"))
        self.deeper()
        node = Node("opaque", (*bounds, self.product()), name)
        self.depth -= 1
        return node

    @abstractmethod
    def call(self, name: Node) -> Node:
        """Returns a name with the bracket after it, as a function's value or a product."""

    @abstractmethod
    def begins_factor(self, token: Token) -> bool:
        """Returns whether a token begins another factor of a product."""


def _order(bottom: list[str]) -> int:
    r"""Returns the order of a derivative from its denominator, `dt^2` or `\partial x \partial y`."""
    powers = [int(after) - 1 for sign, after in pairwise(bottom) if sign == "^" and after in _ORDERS]
    return bottom.count(bottom[0]) + sum(powers)


def _variables(bottom: list[str]) -> str:
    """Returns the variables of a partial derivative, sorted, because their order does not matter."""
    return " ".join(sorted("".join(bottom[1:]).split(bottom[0])))
