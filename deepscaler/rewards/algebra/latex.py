r"""LaTeX to sympy by latex2sympy2_extended, after saying what it does not know in words that it does.

\dot{v}_o    v_{oD1}        a derivative is a symbol of its own: the parser would work it out to 0
\gamma       g_{amma}       a variable, which the parser takes for the gamma function
I_1          j_{I1}         a current, which the parser takes for the imaginary unit

Runs in worker processes only. Numbers are made from their digits, for upstream hands them to sympy's evaluator.
"""

import re
from functools import lru_cache

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy
from sympy import Basic, Expr

from deepscaler.rewards.answers.numbers import parse_number

DIGITS = 50
"""Decimal digits of a decimal number, and those at which two irrational closed forms must agree."""

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
_CONSTANTS = re.compile(r"(\\[a-zA-Z]+)|([IE])(?:_(\{[^{}]*\}|\w))?")
"""`I` is a current and `E` an energy; the parser takes them for the imaginary unit and Euler's number."""

_GAMMA = re.compile(r"\\([gG])amma(?![a-zA-Z])(?:_(\{[^{}]*\}|\w))?")


def prepare(latex: str) -> str:
    """What the parser does not know, in words that it does."""
    if _TRIGONOMETRIC.search(latex):
        latex = _DEGREES.sub(r"(\1 \\cdot \\frac{\\pi}{180})", latex)
    latex = re.sub(r"(?<=[\d)}])\s*\^\s*\\circ\s*$", "", latex).replace("\\text", "").replace("\\dots", "")
    latex = _QUOTIENT.sub(lambda m: _derivative(m[2], m[3], int(m[1] or 1)), latex)
    latex = _DOTS.sub(lambda m: _derivative(m[2] or m[4], m[3] or m[5], len(m[1])), latex)
    latex = _PRIMES.sub(lambda m: _derivative(m[1], m[2], len(m[3])), latex)
    latex = _GAMMA.sub(lambda m: f"{m[1]}_{{amma{m[2] or ''}}}", latex)
    latex = _CONSTANTS.sub(lambda m: m[1] or f" j_{{{m[2]}{m[3] or ''}}}", latex).replace("\\hbar", "h_{bar}")
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
def parse(latex: str, is_real: bool) -> Basic | None:
    """The expression of some prepared LaTeX; None where there is none."""
    if number := parse_number(latex):
        value = sympy.Rational(number.value.numerator, number.value.denominator)
        return sympy.Float(value, DIGITS) if number.decimal else value
    try:
        expression: Basic = _SafeParser(is_real=is_real, config=_CONVERSION).parse(latex)
    except Exception:  # the parser raises whatever its grammar runs into
        return None
    return expression
