r"""The expensive comparison: LaTeX is parsed by latex2sympy2_extended and compared by value, then by math-verify.

Imported in worker processes only: sympy may take for ever on a hostile expression, and is killed there.
math-verify's extraction from plain text is not used: it evaluates Python (`parse_expr`). Its LaTeX parser does not.
"""

import logging
import random
import re
from fractions import Fraction
from functools import lru_cache

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy
from math_verify import verify
from math_verify.grader import should_treat_as_complex
from sympy import Basic, Expr

from deepscaler.rewards.equivalence import Verdict, compare, decide_cheaply
from deepscaler.rewards.numbers import close, parse_number

logging.getLogger("math_verify").setLevel(logging.ERROR)

DIGITS = 50
"""Decimal digits at which two irrational closed forms must agree."""

NUM_SAMPLES = 4
"""Random positive points at which two expressions in variables must agree (Schwartz-Zippel)."""

_CONVERSION = ConversionConfig(lowercase_symbols=False)
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\\circ ?")
_SUBSCRIPT = re.compile(r"_\{([^{}]*)\}")
_PRIME = re.compile(r"\^\{?\s*\\prime\s*\}?|'")


def is_equivalent(answer: str, gold: str) -> bool:
    """The full comparison, symbolic work included. May take for ever; the caller bounds it."""
    return bool(compare(answer, gold, _leaf))


def _leaf(answer: str, gold: str) -> Verdict:
    verdict = decide_cheaply(answer, gold)
    return same_expression(answer, gold) if verdict is None else verdict


def same_expression(answer: str, gold: str) -> bool:
    """Compare two scalars or relations by their mathematics; False where either cannot be parsed."""
    answer, gold = _prepare(answer), _prepare(gold)
    if answer.replace(" ", "") == gold.replace(" ", ""):
        return True
    is_real = not (should_treat_as_complex(answer) or should_treat_as_complex(gold))
    parsed_answer, parsed_gold = _parse(answer, is_real), _parse(gold, is_real)
    if parsed_answer is None or parsed_gold is None:
        return False
    if isinstance(parsed_answer, Expr) and isinstance(parsed_gold, Expr):
        verdict = _same_value(parsed_answer, parsed_gold)
        if verdict is not None:
            return verdict
    # No float has come this far in a scalar, so math-verify's absolute rounding cannot equate small numbers.
    return bool(verify([parsed_gold], [parsed_answer], timeout_seconds=None))


def _prepare(latex: str) -> str:
    """What the parser does not know, in words that it does."""
    if _TRIGONOMETRIC.search(latex):
        latex = _DEGREES.sub(r"(\1 \\cdot \\frac{\\pi}{180})", latex)
    latex = latex.replace("^\\circ", "").replace("\\text", "").replace("\\dots", "")
    latex = _SUBSCRIPT.sub(lambda match: "_{" + re.sub(r"[\s\\,{}]", "", match[1]) + "}", latex)
    return _PRIME.sub("", latex).strip() if "d" not in latex else latex.strip()


class _SafeParser(_Latex2Sympy):  # type: ignore[misc]  # it comes without types
    """Numbers are made from their digits; upstream hands the text to sympy.Number, which evaluates it."""

    def parse_number(self, text: str) -> Expr:
        digits = text.replace(",", "")
        return sympy.Integer(int(digits)) if digits.isdigit() else sympy.Float(digits)


@lru_cache(maxsize=4096)
def _parse(latex: str, is_real: bool) -> Basic | None:
    if number := parse_number(latex):
        value = sympy.Rational(number.value.numerator, number.value.denominator)
        return sympy.Float(value, DIGITS) if number.decimal else value
    try:
        expression: Basic = _SafeParser(is_real=is_real, config=_CONVERSION).parse(latex)
    except Exception:  # the parser raises whatever its grammar runs into
        return None
    return expression


def _same_value(answer: Expr, gold: Expr) -> bool | None:
    """Equality of two numbers or of two functions of the same variables; None if that cannot be told by values."""
    answer, gold = (_with_imaginary_unit(expression) for expression in (answer, gold))
    symbols = answer.free_symbols | gold.free_symbols
    if any(expression.atoms(sympy.core.function.AppliedUndef) for expression in (answer, gold)):
        return None
    if symbols:
        return _same_function(answer, gold, sorted(symbols, key=str))
    answer, gold = answer.doit(), gold.doit()
    rounded = bool(answer.atoms(sympy.Float) or gold.atoms(sympy.Float))
    if answer.is_Rational and gold.is_Rational and not rounded:
        return bool(answer == gold)
    return _agree(answer, gold, rounded)


def _with_imaginary_unit(expression: Expr) -> Expr:
    """The parser reads `i` as a variable. As an index in both answers it is as good a point as any other."""
    return expression.xreplace({symbol: sympy.I for symbol in expression.free_symbols if symbol.name == "i"})


def _same_function(answer: Expr, gold: Expr, symbols: list[Basic]) -> bool | None:
    generator = random.Random(0)
    rounded = bool(answer.atoms(sympy.Float) or gold.atoms(sympy.Float))
    for _ in range(NUM_SAMPLES):
        point = {symbol: sympy.Rational(generator.randint(101, 399), 100) for symbol in symbols}
        verdict = _agree(answer.xreplace(point).doit(), gold.xreplace(point).doit(), rounded)
        if not verdict:
            return verdict
    return True


def _agree(answer: Expr, gold: Expr, rounded: bool) -> bool | None:
    """Whether two numbers agree to all digits, or to six where one was given as a decimal."""
    left, right = (sympy.N(value, DIGITS + 10) for value in (answer, gold))
    if not (left.is_number and right.is_number) or not (left.is_finite and right.is_finite):
        return bool(answer == gold) if answer.is_infinite or gold.is_infinite else None
    for a, b in zip(left.as_real_imag(), right.as_real_imag(), strict=True):
        if not (a.is_Float or a.is_Rational) or not (b.is_Float or b.is_Rational):
            return None
        if not _close_floats(a, b, rounded):
            return False
    return True


def _close_floats(a: Expr, b: Expr, rounded: bool) -> bool:
    tiny = sympy.Float(10) ** -DIGITS
    difference = abs(a - b)
    if difference <= tiny * max(abs(a), abs(b), 1):
        return True
    return rounded and close(Fraction(str(sympy.Rational(a))), Fraction(str(sympy.Rational(b))))
