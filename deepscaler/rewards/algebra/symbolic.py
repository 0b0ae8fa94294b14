r"""The expensive comparison: two parsed expressions by value, then by math-verify.

Imported in worker processes only: sympy may take for ever on a hostile expression, and is killed there.
math-verify's extraction from plain text is not used: it evaluates Python (`parse_expr`). Its LaTeX parser does not.
"""

import logging
import random
import re
from fractions import Fraction

import sympy
from math_verify import verify
from math_verify.grader import should_treat_as_complex
from sympy import Basic, Expr
from sympy.core.function import AppliedUndef

from deepscaler.rewards.algebra.latex import DIGITS, parse, prepare
from deepscaler.rewards.answers.equivalence import compare
from deepscaler.rewards.answers.literals import Verdict, decide_cheaply
from deepscaler.rewards.answers.numbers import close

logging.getLogger("math_verify").setLevel(logging.ERROR)

NUM_SAMPLES = 4
"""Random positive points at which two expressions in variables must agree (Schwartz-Zippel)."""

NUM_INTEGER_SAMPLES = 24
"""Points where there are steps (floor, mod): such functions agree nearly everywhere and differ at some integers."""

_POLYNOMIAL_GCD = re.compile(r"\\?(?:gcd|lcm)(?![a-zA-Z])")
"""Worked out by the parser as if letters were polynomials: `\\gcd(m,n)` would be 1."""

_FUNCTION_NAMES = frozenset("fghFGHPQpq")
_STEPS = (sympy.floor, sympy.ceiling, sympy.Mod)
_FOLDS = (sympy.Abs, sympy.Max, sympy.Min, sympy.sign)


def is_equivalent(answer: str, gold: str) -> bool:
    """The full comparison, symbolic work included. May take for ever; the caller bounds it."""
    return bool(compare(answer, gold, _leaf))


def _leaf(answer: str, gold: str) -> Verdict:
    verdict = decide_cheaply(answer, gold)
    return same_expression(answer, gold) if verdict is None else verdict


def same_expression(answer: str, gold: str) -> bool:
    """Compare two scalars or relations by their mathematics; False where either cannot be parsed."""
    answer, gold = prepare(answer), prepare(gold)
    if answer.replace(" ", "") == gold.replace(" ", ""):
        return True
    if _POLYNOMIAL_GCD.search(answer) or _POLYNOMIAL_GCD.search(gold):
        return False
    is_real = not (should_treat_as_complex(answer) or should_treat_as_complex(gold))
    parsed_answer, parsed_gold = parse(answer, is_real), parse(gold, is_real)
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


def _exact(expression: Basic) -> Basic:
    """Decimals as fractions: beside a large term, six digits would hide what a small one says."""
    return expression.xreplace({number: sympy.Rational(str(number)) for number in expression.atoms(sympy.Float)})


def _same_equation(answer: sympy.Eq, gold: sympy.Eq) -> bool:
    """Whether the two differences of sides are in a constant ratio, so that they vanish together."""
    left, right = (_exact(_without_functions(equation.lhs - equation.rhs)) for equation in (answer, gold))
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    if left.free_symbols != right.free_symbols or not symbols:
        return bool(answer == gold)
    ratios = []
    for point in _points(symbols, left, right):
        values = [sympy.N(side.xreplace(point).doit(), DIGITS + 10) for side in (left, right)]
        if not all(value.is_number and value.is_finite and not value.is_zero for value in values):
            return bool(answer == gold)
        ratios.append(values[0] / values[1])
    return all(_agree(ratio, ratios[0], rounded=False) for ratio in ratios[1:])


def _agree(answer: Expr, gold: Expr, rounded: bool) -> bool | None:
    """Whether two numbers agree to all digits, or to six where one was given as a decimal."""
    left, right = (sympy.N(value, DIGITS + 10) for value in (answer, gold))
    if left.has(sympy.nan, sympy.zoo) or right.has(sympy.nan, sympy.zoo):
        return False
    if not (left.is_number and right.is_number) or not (left.is_finite and right.is_finite):
        signed = {sympy.oo, -sympy.oo}
        return bool(answer == gold) if {answer, gold} <= signed else False if {answer, gold} & signed else None
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
