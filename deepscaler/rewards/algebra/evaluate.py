r"""Evaluates a tree at a point: exactly, as a fraction, as long as that stays small, and otherwise to 60 digits.

This runs in worker processes only, because a power or a factorial may take forever and must be killed. No tree becomes
text on the way, so nothing is ever evaluated as Python.
"""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import mpmath

from deepscaler.rewards.answers.nodes import Node

DIGITS = 50
"""Decimal digits at which two irrational closed forms must agree."""

PRECISION = 80
MAX_BITS = 200_000
"""Most bits of an exact power; a larger power is evaluated to its leading digits."""

MAX_FACTORIAL = 3000

Value = Any
"""A Fraction, or one of mpmath's numbers."""


class UndefinedError(ArithmeticError):
    """Signals that a tree has no value at this point."""


class Evaluator:
    """Evaluates trees at one point; parts that cannot be evaluated (`f(x)`, an integral) are variables of their own."""

    def __init__(self, point: Mapping[Node, Fraction], key: Callable[[Node], Node]) -> None:
        self._point, self._key = point, key

    def __call__(self, node: Node, angle: bool = False) -> Value:
        """Returns the value; `angle` is True inside a trigonometric function, where a degree is pi/180."""
        return _simplest(self._rule(node, angle))

    def _rule(self, node: Node, angle: bool) -> Value:
        kind = node.kind
        if kind == "number":
            return node.value.value / 100 if node.value.percent else node.value.value
        if kind == "symbol":
            return self._symbol(node)
        if kind in ("opaque", "call", "words"):
            return self._point[self._key(node)]
        if kind == "function":
            return self._function(node)
        if kind == "degree":
            value = self(node.args[0], angle)
            return _number(value) * mpmath.pi / 180 if angle else value
        parts = [self(part, angle) for part in node.args]
        return _RULES[kind](*parts) if kind in _RULES else self._refuse()

    @staticmethod
    def _refuse() -> Value:
        raise UndefinedError("no scalar")

    def _symbol(self, node: Node) -> Value:
        # mpmath's constants are lazy; the + below evaluates them at the precision of this moment.
        constants = {"\\pi": mpmath.pi, "e": mpmath.e, "\\infty": mpmath.inf, "i": mpmath.mpc(0, 1)}
        return +constants[node.value] if node.value in constants else self._point[node]

    def _function(self, node: Node) -> Value:
        name = node.value
        trigonometric = name in _TRIGONOMETRIC
        parts = [self(part, trigonometric) for part in node.args]
        if name in ("floor", "ceil"):
            return _step(parts[0], math.floor if name == "floor" else math.ceil)
        if name in ("gcd", "lcm"):
            # For a gcd of irrational numbers int() would take their whole parts, and find one.
            if not all(isinstance(part, Fraction) and part.denominator == 1 for part in parts):
                raise UndefinedError(name)
            return Fraction((math.gcd if name == "gcd" else math.lcm)(*(int(part) for part in parts)))
        if name in ("max", "min"):
            if any(isinstance(part, mpmath.mpc) for part in parts):
                raise UndefinedError(name)
            return (max if name == "max" else min)(parts)
        if name == "log_":
            return mpmath.log(_number(parts[0])) / mpmath.log(_number(parts[1]))
        function = _FUNCTIONS.get(name)
        if function is None or len(parts) != 1:
            raise UndefinedError(name)
        return function(_number(parts[0]))


_TRIGONOMETRIC = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
_FUNCTIONS: dict[str, Callable[[Value], Value]] = {
    "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "cot": mpmath.cot, "sec": mpmath.sec, "csc": mpmath.csc,
    "arcsin": mpmath.asin, "arccos": mpmath.acos, "arctan": mpmath.atan, "arccot": mpmath.acot, "arcsec": mpmath.asec,
    "arccsc": mpmath.acsc, "sinh": mpmath.sinh, "cosh": mpmath.cosh, "tanh": mpmath.tanh, "coth": mpmath.coth,
    "sech": mpmath.sech, "csch": mpmath.csch, "ln": mpmath.log, "log": mpmath.log, "exp": mpmath.exp, "Re": mpmath.re,
    "Im": mpmath.im, "arg": mpmath.arg,
}  # fmt: skip


def _number(value: Value) -> Value:
    # Through mpf, not float: a float has 16 digits, and the comparison needs 50.
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _simplest(value: Value) -> Value:
    """Returns a real number for a complex one whose imaginary part has canceled."""
    if isinstance(value, mpmath.mpc):
        # The cube roots of unity and the like leave an imaginary part of the size of a rounding error.
        if value.imag == 0 or abs(value.imag) < abs(value.real) * mpmath.mpf(10) ** -(DIGITS + 15):
            return value.real
        return value
    if isinstance(value, mpmath.mpf) and mpmath.isnan(value):
        raise UndefinedError("nan")
    return value


def _add(*parts: Value) -> Value:
    if all(isinstance(part, Fraction) for part in parts):
        return sum(parts, Fraction(0))
    return mpmath.fsum(map(_number, parts))


def _multiply(*parts: Value) -> Value:
    if all(isinstance(part, Fraction) for part in parts):
        return math.prod(parts, start=Fraction(1))
    product = mpmath.mpf(1)
    for part in parts:
        product = product * _number(part)
    return product


def _divide(top: Value, bottom: Value) -> Value:
    if bottom == 0:
        raise UndefinedError("division by zero")
    if isinstance(top, Fraction) and isinstance(bottom, Fraction):
        return top / bottom
    return _number(top) / _number(bottom)


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction) and exponent.denominator == 1 and isinstance(base, Fraction):
        if base == 0 and exponent < 0:
            raise UndefinedError("division by zero")
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if bits * abs(exponent) <= MAX_BITS:  # the exact value of 2^(10^9) would fill the memory
            return base ** int(exponent)
    if base == 0:
        if isinstance(exponent, mpmath.mpc) or exponent <= 0:
            raise UndefinedError("0^0")
        return Fraction(0)
    return mpmath.power(
        _number(base),
        int(exponent) if isinstance(exponent, Fraction) and exponent.denominator == 1 else _number(exponent),
    )


def _root(index: Value, radicand: Value) -> Value:
    """Returns the real root if there is one: the cube root of -2 is negative."""
    if isinstance(index, Fraction) and index.denominator == 1 and index > 0:
        if radicand == 0:
            return Fraction(0)
        if not isinstance(radicand, mpmath.mpc) and radicand < 0 and index % 2:
            return -mpmath.root(-_number(radicand), int(index))
        return mpmath.root(_number(radicand), int(index)) if index < 1000 else _power(radicand, 1 / index)
    return _power(radicand, _divide(Fraction(1), index))


def _factorial(value: Value) -> Value:
    if isinstance(value, Fraction) and value.denominator == 1:
        if value < 0:
            raise UndefinedError("factorial")
        # Beyond it mpmath's gamma function gives the leading digits at once, without the ten thousand others.
        if value <= MAX_FACTORIAL:
            return Fraction(math.factorial(int(value)))
    return mpmath.factorial(_number(value))


def _binomial(top: Value, bottom: Value) -> Value:
    whole = all(
        isinstance(part, Fraction) and part.denominator == 1 and 0 <= part <= MAX_FACTORIAL for part in (top, bottom)
    )
    return Fraction(math.comb(int(top), int(bottom))) if whole else mpmath.binomial(_number(top), _number(bottom))


def _step(value: Value, step: Callable[[Any], int]) -> Value:
    """Returns a floor or ceiling; a value within rounding of an integer is that integer."""
    if isinstance(value, Fraction):
        return Fraction(step(value))
    if isinstance(value, mpmath.mpc) or not mpmath.isfinite(value) or abs(value) > mpmath.mpf(10) ** DIGITS:
        raise UndefinedError("step")
    nearest = mpmath.nint(value)  # rounding may have left 3 as 2.999..., whose floor is 2
    return Fraction(int(nearest)) if abs(value - nearest) < mpmath.mpf(10) ** -DIGITS else Fraction(int(step(value)))


def _negate(value: Value) -> Value:
    return -value


def _absolute(value: Value) -> Value:
    return abs(value)


_RULES: dict[str, Callable[..., Value]] = {
    "add": _add, "mul": _multiply, "div": _divide, "neg": _negate, "power": _power, "root": _root, "abs": _absolute,
    "factorial": _factorial, "binom": _binomial,
}  # fmt: skip
