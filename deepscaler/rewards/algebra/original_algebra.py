"""Tests whether a difference simplifies to zero, with a grammar of the kit's own.

The original calls sympy's `parse_expr`, which uses `eval` on the model's text. Here no text ever becomes Python.

expression := term (("+" | "-") term)*      term := power (("*" | "/" | nothing) power)*
power := ("-")* atom "!"* (("^" | "**") power)?      atom := number | name | function power | "(" expression ")"
"""

import re

import sympy
from sympy import Expr

MAX_LENGTH = 500
"""Most characters of an element. The original's own limits on letters and powers leave no longer ones that matter."""

MAX_EXPONENT = 1000
MAX_FACTORIAL = 1000

_TOKEN = re.compile(r"\s*(?:(\d+\.\d*|\.\d+|\d+)|([a-z]+)|(\*\*|[-+*/^()!]))")
_FUNCTIONS = {
    name: getattr(sympy, name)
    for name in ("sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "log", "ln", "exp")
}


class _RefusedError(ValueError):
    """Signals a text outside the grammar or its bounds."""


def same_by_algebra(answer: str, gold: str) -> bool:
    """Returns whether sympy simplifies gold - answer to zero."""
    if max(len(answer), len(gold)) > MAX_LENGTH:
        return False
    try:
        # Octal escapes in an answer pass pylatexenc, and the original's parse_expr runs what they spell.
        difference = _Parser(gold).parse() - _Parser(answer).parse()
    except (_RefusedError, RecursionError):
        return False
    return bool(sympy.simplify(difference) == 0)


class _Parser:
    """Parses the tokens of one expression by recursive descent."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if not match:
                raise _RefusedError(text[position])
            kind = "number" if match[1] else "name" if match[2] else "sign"
            self._tokens.extend(_split_name(match[2]) if kind == "name" else [(kind, match[match.lastindex or 0])])
            position = match.end()
        self._next = 0

    def parse(self) -> Expr:
        expression = self._expression()
        if self._next < len(self._tokens):
            raise _RefusedError(self._peek())
        return expression

    def _peek(self) -> str:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else ""

    def _kind(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else "end"

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _expression(self) -> Expr:
        value = self._term()
        while self._peek() in ("+", "-"):
            value = value + self._term() if self._take() == "+" else value - self._term()
        return value

    def _term(self) -> Expr:
        value = self._power()
        while self._peek() in ("*", "/", "(") or self._kind() in ("number", "name", "function"):
            sign = self._take() if self._peek() in ("*", "/") else "*"
            operand = self._power()
            value = value / operand if sign == "/" else value * operand
        return value

    def _power(self) -> Expr:
        if self._peek() in ("+", "-"):
            return self._power() if self._take() == "+" else -self._power()
        value = self._atom()
        while self._peek() == "!":
            self._take()
            # Before sympy computes it: 1000000000! would use up the time limit and the memory.
            if not value.is_Integer or not 0 <= int(value) <= MAX_FACTORIAL:
                raise _RefusedError("!")
            value = sympy.factorial(value)
        if self._peek() in ("^", "**"):
            self._take()
            exponent = self._power()
            # Towers such as 9**9**9**9 never return in the original, which has no limit.
            if exponent.is_number and abs(exponent) > MAX_EXPONENT:
                raise _RefusedError("^")
            value = value**exponent
        return value

    def _atom(self) -> Expr:
        kind, token = self._kind(), self._take()
        if kind == "number":
            return sympy.Float(token) if "." in token else sympy.Integer(int(token))
        if kind == "function":
            return _FUNCTIONS[token](self._power())
        if kind == "name":
            return sympy.pi if token == "pi" else sympy.Symbol(token)
        if token == "(":
            value = self._expression()
            if self._take() != ")":
                raise _RefusedError("(")
            return value
        raise _RefusedError(token)


def _split_name(word: str) -> list[tuple[str, str]]:
    """Returns a run of letters split as in the original's parser: xy is x y, sqrtx is sqrt x, pi is pi."""
    parts: list[tuple[str, str]] = []
    while word:
        function = next((name for name in sorted(_FUNCTIONS, key=len, reverse=True) if word.startswith(name)), "")
        part = function or ("pi" if word.startswith("pi") else word[0])
        parts.append(("function" if function else "name", part))
        word = word[len(part) :]
    return parts
