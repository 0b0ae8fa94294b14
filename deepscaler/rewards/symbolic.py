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
from sympy.core.function import AppliedUndef

from deepscaler.rewards.equivalence import compare
from deepscaler.rewards.literals import Verdict, decide_cheaply
from deepscaler.rewards.numbers import close, parse_number

logging.getLogger("math_verify").setLevel(logging.ERROR)

DIGITS = 50
"""Decimal digits at which two irrational closed forms must agree."""

NUM_SAMPLES = 4
"""Random positive points at which two expressions in variables must agree (Schwartz-Zippel)."""

NUM_INTEGER_SAMPLES = 24
"""Points where there are steps (floor, gcd): such functions agree nearly everywhere and differ at some integers."""

_CONVERSION = ConversionConfig(lowercase_symbols=False)
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\\circ ?")
_SUBSCRIPT = re.compile(r"_\{([^{}]*)\}")
_LETTER = r"(\\[a-zA-Z]+|[a-zA-Z])\s*(?:_(\{[^{}]*\}|\w|\\[a-zA-Z]+))?"
_QUOTIENT = re.compile(
    rf"\\frac\s*\{{\s*d(?:\^(\d))?\s*{_LETTER}\s*\}}\{{\s*d\s*(?:[a-zA-Z]|\\[a-zA-Z]+)(?:\^\d)?\s*\}}"
)
_DOTS = re.compile(rf"\\(d+)ot\s*(?:\{{\s*{_LETTER}\s*\}}|([a-zA-Z]))(?:_(\{{[^{{}}]*\}}|\w))?")
_PRIMES = re.compile(rf"(?<![a-zA-Z\\]){_LETTER}\s*('+)")
_POLYNOMIAL_GCD = re.compile(r"\\?(?:gcd|lcm)(?![a-zA-Z])")
"""Worked out by the parser as if letters were polynomials: `\\gcd(m,n)` would be 1."""

_IMAGINARY = re.compile(r"(\\[a-zA-Z]+)|I(?:_(\{[^{}]*\}|\w))?")
"""`I` is a current or a moment of inertia; the parser takes it for the imaginary unit."""

_FUNCTION_NAMES = frozenset("fghFGHPQpq")
_GAMMA = re.compile(r"\\([gG])amma(?![a-zA-Z])(?:_(\{[^{}]*\}|\w))?")
_STEPS = (sympy.floor, sympy.ceiling, sympy.gcd, sympy.lcm, sympy.Mod)
_FOLDS = (sympy.Abs, sympy.Max, sympy.Min, sympy.sign)


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
    if _POLYNOMIAL_GCD.search(answer) or _POLYNOMIAL_GCD.search(gold):
        return False
    is_real = not (should_treat_as_complex(answer) or should_treat_as_complex(gold))
    parsed_answer, parsed_gold = _parse(answer, is_real), _parse(gold, is_real)
    if parsed_answer is None or parsed_gold is None:
        return False
    if isinstance(parsed_answer, Expr) and isinstance(parsed_gold, Expr):
        verdict = _same_value(parsed_answer, parsed_gold)
        if verdict is not None:
            return verdict
    if isinstance(parsed_answer, sympy.Eq) and isinstance(parsed_gold, sympy.Eq):
        return _same_equation(parsed_answer, parsed_gold)
    # No float has come this far in a scalar, so math-verify's absolute rounding cannot equate small numbers.
    return bool(verify([parsed_gold], [parsed_answer], timeout_seconds=None))


def _prepare(latex: str) -> str:
    """What the parser does not know, in words that it does."""
    if _TRIGONOMETRIC.search(latex):
        latex = _DEGREES.sub(r"(\1 \\cdot \\frac{\\pi}{180})", latex)
    latex = re.sub(r"(?<=[\d)}])\s*\^\s*\\circ\s*$", "", latex).replace("\\text", "").replace("\\dots", "")
    latex = _QUOTIENT.sub(lambda m: _derivative(m[2], m[3], int(m[1] or 1)), latex)
    latex = _DOTS.sub(lambda m: _derivative(m[2] or m[4], m[3] or m[5], len(m[1])), latex)
    latex = _PRIMES.sub(lambda m: _derivative(m[1], m[2], len(m[3])), latex)
    latex = _GAMMA.sub(lambda m: f"{m[1]}_{{amma{m[2] or ''}}}", latex)
    latex = _IMAGINARY.sub(lambda m: m[1] or f" j_{{I{m[2] or ''}}}", latex).replace("\\hbar", "h_{bar}")
    latex = re.sub(r"_\\([a-zA-Z]+)", r"_{\1}", latex)
    return _SUBSCRIPT.sub(lambda match: "_{" + re.sub(r"[\s\\,{}]", "", match[1]) + "}", latex).strip()


def _derivative(letter: str, subscript: str | None, order: int) -> str:
    r"""A symbol of its own, as the parser would work it out to 0: `v'`, `\dot{v}` and `\frac{dv}{dt}` are one."""
    return f" {letter[-1]}_{{{letter[:-1]}{subscript or ''}D{order}}} "


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
    answer, gold = (_with_imaginary_unit(_without_functions(expression)) for expression in (answer, gold))
    symbols = answer.free_symbols | gold.free_symbols
    if symbols:
        return _same_function(answer, gold, sorted(symbols, key=str))
    answer, gold = answer.doit(), gold.doit()
    rounded = bool(answer.atoms(sympy.Float) or gold.atoms(sympy.Float))
    if answer.is_Rational and gold.is_Rational and not rounded:
        return bool(answer == gold)
    return _agree(answer, gold, rounded)


def _without_functions(expression: Basic) -> Basic:
    """Unknown functions as symbols (`x(t)`), or as the products they are more likely to be (`r(2+s)`)."""
    replaced = {}
    for call in expression.atoms(AppliedUndef):
        is_product = len(call.args) == 1 and call.args[0].is_Add and str(call.func) not in _FUNCTION_NAMES
        replaced[call] = sympy.Symbol(str(call.func)) * call.args[0] if is_product else sympy.Symbol(str(call))
    return expression.xreplace(replaced)


def _with_imaginary_unit(expression: Expr) -> Expr:
    """The parser reads `i` as a variable. As an index in both answers it is as good a point as any other."""
    return expression.xreplace({symbol: sympy.I for symbol in expression.free_symbols if symbol.name == "i"})


def _same_function(answer: Expr, gold: Expr, symbols: list[Basic]) -> bool | None:
    rounded = bool(answer.atoms(sympy.Float) or gold.atoms(sympy.Float))
    for point in _points(symbols, answer, gold):
        verdict = _agree(answer.xreplace(point).doit(), gold.xreplace(point).doit(), rounded)
        if not verdict:
            return verdict
    return True


def _points(symbols: list[Basic], *expressions: Basic) -> list[dict[Basic, Expr]]:
    """Where expressions are compared: positive fractions; integers for steps; both signs for folds such as |x|."""
    generator = random.Random(0)
    if any(expression.has(*_STEPS) for expression in expressions):
        sizes = [*range(1, NUM_INTEGER_SAMPLES + 1), *(10**power for power in range(2, 6))]
        return [{symbol: sympy.Integer(n + generator.randint(0, n)) for symbol in symbols} for n in sizes]
    signs = (1, -1) if any(expression.has(*_FOLDS) for expression in expressions) else (1,)
    return [
        {symbol: sign * sympy.Rational(generator.randint(5, 399), unit) for symbol in symbols}
        for unit in ((100,) * NUM_SAMPLES if len(signs) == 1 else (100, 10) * NUM_SAMPLES)
        for sign in signs
    ]


def _same_equation(answer: sympy.Eq, gold: sympy.Eq) -> bool:
    """Whether the two differences of sides are in a constant ratio, so that they vanish together."""
    left, right = (_without_functions(equation.lhs - equation.rhs) for equation in (answer, gold))
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    if left.free_symbols != right.free_symbols or not symbols:
        return bool(answer == gold)
    rounded = bool(answer.atoms(sympy.Float) or gold.atoms(sympy.Float))
    ratios = []
    for point in _points(symbols, left, right):
        values = [sympy.N(side.xreplace(point).doit(), DIGITS + 10) for side in (left, right)]
        if not all(value.is_number and value.is_finite and not value.is_zero for value in values):
            return bool(answer == gold)
        ratios.append(values[0] / values[1])
    return all(_agree(ratio, ratios[0], rounded) for ratio in ratios[1:])


def _agree(answer: Expr, gold: Expr, rounded: bool) -> bool | None:
    """Whether two numbers agree to all digits, or to six where one was given as a decimal."""
    left, right = (sympy.N(value, DIGITS + 10) for value in (answer, gold))
    if not (left.is_number and right.is_number) or not (left.is_finite and right.is_finite):
        signed = {sympy.oo, -sympy.oo}
        return bool(answer == gold) if {answer, gold} <= signed else False if {answer, gold} & signed else None
    if left.has(sympy.nan, sympy.zoo) or right.has(sympy.nan, sympy.zoo):
        return False
    parts = list(zip(left.as_real_imag(), right.as_real_imag(), strict=True))
    if not all(part.is_Float or part.is_Rational for pair in parts for part in pair):
        return None
    size = max(abs(part) for pair in parts for part in pair)
    return all(_close_floats(a, b, size, rounded) for a, b in parts)


def _close_floats(a: Expr, b: Expr, size: Expr, rounded: bool) -> bool:
    """Whether two parts of numbers of some size agree; a sum that cancels leaves a remainder of about 10^-60."""
    tiny = sympy.Float(10) ** -DIGITS
    difference = abs(a - b)
    if difference <= tiny * size or (difference <= tiny and (a == 0 or b == 0)):
        return True
    return rounded and close(Fraction(str(sympy.Rational(a))), Fraction(str(sympy.Rational(b))))
