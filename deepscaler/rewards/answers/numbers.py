r"""Reads literal numbers exactly: `7.8\times10^2`, `1 1/2`, `28\%`, `1,000`, `-\frac{3}{4}`, `8.7e8`.

Nothing is computed, so `6!`, `2+2` and `12^2` are not literals.
"""

from fractions import Fraction

from deepscaler.rewards.answers.nodes import Node, Number
from deepscaler.rewards.answers.tokens import UnreadableError

RELATIVE_TOLERANCE = Fraction(11, 10_000_000)
"""Tolerance for decimals. They must be right to six significant digits: 0.333333 passes for 1/3, 0.3333 does not."""

NOISE = Fraction(1, 10**12)
"""Relative error of floating-point output: 0.30000000000000004 for 3/10."""

MAX_DIGITS = 400
"""Most digits of a number; a longer one is compared as text only, because reading digits takes quadratic time."""

MAX_EXPONENT = 400
"""Largest exponent of ten in scientific notation."""


def parse_digits(text: str) -> Node:
    """Returns the number in a token: `12`, `.5`, `8.7e8`, `0.1(6)`. Raises UnreadableError if it is too long."""
    if len(text) > MAX_DIGITS:
        raise UnreadableError("too many digits")
    mantissa, _, exponent = text.partition("e")
    if abs(power := int(exponent or 0)) > MAX_EXPONENT:
        raise UnreadableError("too large")
    digits, _, period = mantissa.rstrip(")").partition("(")
    # Fraction reads decimals exactly; float would make 0.1 another number.
    value = Fraction(digits.rstrip(".") or "0")
    if period:
        decimals = len(digits.partition(".")[2])
        # A period of n digits is a fraction over n nines: 0.1(6) is 1/10 + 6/90.
        value += Fraction(int(period), (10 ** len(period) - 1) * 10**decimals)
    value *= Fraction(10) ** power
    is_rounded = "." in text and not period and value.denominator != 1
    step = Fraction(10) ** (power - len(digits.partition(".")[2])) if is_rounded else Fraction(0)
    return Node("number", (), Number(value, step))


def literal(node: Node) -> Number | None:
    """Returns the number that a tree spells out; None if it requires a calculation."""
    if node.kind == "number":
        return node.value  # type: ignore[no-any-return]
    if node.kind == "neg":
        inner = literal(node.args[0])
        return inner._replace(value=-inner.value) if inner else None
    if node.kind == "div":
        top, bottom = _signed(node.args[0]), _signed(node.args[1])
        # A percent has two values (50\% is 50 and 0.5), and a quotient of them more.
        if top and bottom and bottom.value and not (top.percent or bottom.percent):
            return Number(top.value / bottom.value, (top.step or bottom.step) / bottom.value)
        return None
    if node.kind == "mul" and len(node.args) == 2 and (power := _power_of_ten(node.args[1])):
        mantissa = _signed(node.args[0])
        if mantissa is None:
            return None
        value = mantissa.value * power
        return Number(value, mantissa.step * power if value.denominator != 1 else Fraction(0))
    power = _power_of_ten(node)
    return Number(power) if power else None


def _signed(node: Node) -> Number | None:
    if node.kind == "neg":
        node = node.args[0]
        return node.value._replace(value=-node.value.value) if node.kind == "number" else None
    return node.value if node.kind == "number" else None


def _power_of_ten(node: Node) -> Fraction | None:
    if node.kind != "power" or node.args[0].kind != "number" or node.args[0].value.value != 10:
        return None
    exponent = _signed(node.args[1])
    if exponent is None or exponent.value.denominator != 1 or abs(exponent.value) > MAX_EXPONENT:
        return None
    return Fraction(10) ** int(exponent.value)


def same_number(answer: Number, gold: Number) -> bool:
    """Returns whether two numbers are equal, or agree to six significant digits if a decimal may be rounded."""
    values = [answer.value]
    if answer.percent != gold.percent:
        values.append(answer.value / 100 if answer.percent else answer.value * 100)
    # An integer is never rounded to: 4.000001 is not 4.
    rounded = (answer.decimal or gold.decimal) and gold.value.denominator != 1
    slack = max(half_step(answer), half_step(gold))
    # 0.1250001 shows all digits of 1/8 and more, so it is not a rounded 1/8
    shows_all = answer.step and not gold.step and (gold.value / answer.step).denominator == 1
    tolerance = NOISE if shows_all else RELATIVE_TOLERANCE
    return any(
        value == gold.value or (rounded and close(value, gold.value, Fraction(0) if shows_all else slack, tolerance))
        for value in values
    )


def half_step(number: Number) -> Fraction:
    """Returns the largest rounding error of a number with at least six significant digits; 0 for fewer digits."""
    return abs(number.step) / 2 if abs(number.value) >= abs(number.step) * 10**5 else Fraction(0)


def close(
    value: Fraction, gold: Fraction, slack: Fraction = Fraction(0), tolerance: Fraction = RELATIVE_TOLERANCE
) -> bool:
    """Returns whether a number is within the relative tolerance or the slack; zero is close only to itself."""
    # Relative alone: the original grader's absolute 1e-7 made 0 equal to 3.61e-10.
    return value * gold > 0 and abs(value - gold) <= max(tolerance * abs(gold), slack)
