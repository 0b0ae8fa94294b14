r"""Parses a scalar by its grammar, which defines its parts and how much each operator takes.

sum      := ("+" | "-" | "\pm")? term (("+" | "-" | "\pm") term)*
term     := currency? product unit?
product  := power (("\cdot" | "/" | nothing) power)*
power    := atom ("!" | "^" argument | "^\circ" | "'" | "_" argument)*
atom     := number | letter | command argument* | "(" sum ")" | "|" sum "|"

These rules must consume every token; otherwise the span is unreadable and equals only its own spelling. Each call
consumes a token before it recurses into a bracket or argument, and MAX_DEPTH bounds the recursion.
"""

from deepscaler.rewards.answers.nodes import CONSTANTS, Node, derivative, negated, product_of
from deepscaler.rewards.answers.numbers import parse_digits
from deepscaler.rewards.answers.operators import Operators
from deepscaler.rewards.answers.tokens import Token, UnreadableError
from deepscaler.rewards.answers.units import Unit, read_unit
from deepscaler.rewards.answers.vocabulary import CURRENCIES, unit_of

_SIGNS = frozenset({"+", "-", "\\pm", "\\mp"})
_NOT_FACTORS = frozenset(
    {")", "]", "}", "\\}", ",", ";", "|", "\\|", "=", "&", "\\\\", "\\rfloor", "\\rceil", "!", "^", "_", "'"}
)
_MAY_BEGIN_UNIT = frozenset({"\\frac", "(", "\\mu"})
_FUNCTION_LETTERS = frozenset("fghFGHPQ")
_CODE_LENGTH = 3


class Parser(Operators):
    """Parses one span by recursive descent."""

    def parse(self) -> Node:
        """Returns the tree of the whole span. Raises UnreadableError if it follows no rule."""
        infix = self.span.first({"\\over", "\\choose"})
        if infix is not None:
            top, bottom = self.span.between(self.index, infix), self.span.between(infix + 1, self.span.end)
            kind = "div" if self.span.tokens[infix].text == "\\over" else "binom"
            return Node(kind, (self.at(top).parse(), self.at(bottom).parse()))
        node = self.sum()
        if self.index < self.span.end:
            raise UnreadableError(self.text())
        return node

    def sum(self) -> Node:
        """Returns terms with their signs; a unit behind the last term belongs to the whole sum."""
        terms = [self._signed_term(self.take().text if self.text() in _SIGNS else "")]
        while self.text() in _SIGNS:
            terms.append(self._signed_term(self.take().text))
        if len(terms) == 1:
            return terms[0]
        # `5 cm + 3 cm` is open work; a unit behind the last term alone belongs to the whole sum.
        if any(term.kind == "quantity" for term in terms[:-1]):
            raise UnreadableError("a sum of quantities")
        last = terms.pop()
        total = Node("add", (*terms, last.args[0] if last.kind == "quantity" else last))
        return Node("quantity", (total,), last.value) if last.kind == "quantity" else total

    def _signed_term(self, sign: str) -> Node:
        # Programs print 14.0 + -1.0i, which is 14-i.
        while sign in ("+", "-") and (second := self.take_sign()):
            sign = "+" if sign == second else "-"
        term = self.term()
        if sign in ("\\pm", "\\mp"):
            return Node(sign[1:], (term,))
        if sign != "-":
            return term
        return Node("quantity", (negated(term.args[0]),), term.value) if term.kind == "quantity" else negated(term)

    def term(self) -> Node:
        """Returns a product with its unit."""
        currency = self._currency()
        value = self.product()
        unit = self._unit(value) or self._currency()
        # `\$5 cm` has no meaning that both sides could share.
        if currency and unit and unit != currency:
            raise UnreadableError("two units")
        unit = unit or currency
        return Node("quantity", (value,), unit) if unit else value

    def _currency(self) -> Unit | None:
        r"""Returns the currency of a sign (`\$`, `€`), or of a code before a number (`USD 5`)."""
        token, following = self.peek(), self.peek(1)
        name = CURRENCIES.get(self.text()) or CURRENCIES.get(self.text().removeprefix("\\"))
        is_code = (
            token is not None and token.kind == "word" and token.text.isupper() and len(token.text) == _CODE_LENGTH
        )
        if name is None and is_code and following and following.kind == "number":
            name = unit_of(self.text())
        if name is None:
            return None
        self.index += 1
        return ((name, 1),)

    def product(self) -> Node:
        """Returns the factors up to a sign, a word or a unit."""
        factors, quotients = [self.mixed(self.power())], 0
        while (token := self.peek()) is not None:
            if token.text in ("\\cdot", "\\times", "/"):
                self.index += 1
                sign = self.take_sign()
                operand = self.power()
                operand = negated(operand) if sign == "-" else operand
                if token.text == "/":
                    quotients += 1
                    self.bound(quotients)
                    # From left to right: a/b/c is a/(bc).
                    factors = [Node("div", (product_of(factors), operand))]
                else:
                    factors.append(operand)
            elif self.begins_factor(token):
                # Two numbers in a row are a list without commas, or a mixed number that was read before.
                if token.kind == factors[-1].kind == "number":
                    raise UnreadableError("two numbers")
                factors.append(self.power())
            else:
                break
        return product_of(factors)

    def begins_factor(self, token: Token) -> bool:
        """Returns whether a token begins another factor of a product."""
        if token.text == "|":
            return self._closing_bar(self.index + 1, "|") is not None
        if token.kind == "word" or token.text in _SIGNS or token.text in _NOT_FACTORS or token.text in CURRENCIES:
            return False
        if token.text == "\\$":
            return False
        return not (self._may_begin_unit(token) and read_unit(self.span, self.index, self.upright))

    def _may_begin_unit(self, token: Token) -> bool:
        is_spelled = not self.upright and token.kind == "letter" and token.spaced
        return token.kind == "word" or token.roman or token.text in _MAY_BEGIN_UNIT or is_spelled

    def _unit(self, value: Node) -> Unit | None:
        token = self.peek()
        if token is None or value.kind == "quantity" or not self._may_begin_unit(token):
            return None
        found = read_unit(self.span, self.index, self.upright)
        if found is None:
            return None
        self.index = found[1]
        return found[0]

    def power(self) -> Node:
        """Returns an atom with its suffixes and exponents."""
        return self.postfix(self._atom())

    def argument(self, *, signed: bool = False) -> Node:
        r"""Returns the argument that TeX takes after `\frac`, `\sqrt` or `^`: a group or a single token."""
        token = self.peek()
        if token is None or token.kind == "word" or token.text in _NOT_FACTORS:
            raise UnreadableError("no argument")
        if token.text == "{":
            return self.inside(self.index)
        if signed and (sign := self.take_sign()):
            value = self.argument()
            return negated(value) if sign == "-" else value
        self.deeper()
        node = self._atom()
        self.depth -= 1
        return node

    def _atom(self) -> Node:
        token = self.take()
        if token.kind == "number":
            return parse_digits(token.text)
        if token.kind == "letter":
            return self._letter(token.text)
        if token.text == "{":
            return self.inside(self.index - 1)
        if token.text in ("(", "["):
            closing = self.span.tokens[self.span.closes[self.index - 1]].text
            # (a,b] is an interval, and half open brackets around one scalar are a slip that must not pass for it.
            if (token.text == "(") != (closing == ")"):
                raise UnreadableError("half open")
            return self.inside(self.index - 1)
        if token.text in ("|", "\\|"):
            return self._bars(token.text)
        if token.kind == "command":
            return self.command(token.text)
        raise UnreadableError(token.text)

    def _letter(self, letter: str) -> Node:
        node = Node("symbol", (), letter)
        if self.text() == "_":
            self.index += 1
            node = self.subscripted(node)
        while self.text() in ("'", "\\prime"):
            self.index += 1
            node = derivative(node)
        return self.call(node) if self.text() == "(" else node

    def call(self, name: Node) -> Node:
        r"""Returns f(x) as a call, but r(2+s) and p(1-p) as products: the letter also stands alone or takes a sum."""
        end = self.span.closes[self.index]
        parts = self.span.between(self.index + 1, end).split((",", ";"))
        if self.span.tokens[end].text != ")":
            raise UnreadableError("half open")
        self.index = end + 1
        arguments = tuple(self.at(part).parse() for part in parts)
        if len(arguments) > 1:
            return Node("call", arguments, name.value)
        # f(2+s) is a value of f, where r(2+s) is a product, because problems name functions f, g, h, P and Q.
        is_function = name.value[0] in _FUNCTION_LETTERS or " D" in name.value
        is_factor = name.value in CONSTANTS or name.value in self.span.lone
        if is_factor or (not is_function and arguments[0].kind == "add"):
            return Node("mul", (name, self.postfix(arguments[0])))
        return Node("call", arguments, name.value)

    def _closing_bar(self, start: int, bar: str) -> int | None:
        while start < self.span.end and self.span.tokens[start].text != bar:
            start = self.span.closes.get(start, start) + 1
        return start if start < self.span.end else None

    def _bars(self, bar: str) -> Node:
        closing = self._closing_bar(self.index, bar)
        if closing is None:
            raise UnreadableError(bar)
        node = self.at(self.span.between(self.index, closing)).parse()
        self.index = closing + 1
        return Node("abs" if bar == "|" else "norm", (node,))
