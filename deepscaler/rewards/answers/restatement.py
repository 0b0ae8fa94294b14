r"""An answer must be a value, not the question again: `6!` for 720 or `\int_0^1 x^2 dx` for 1/3 is reward hacking.

A sum, product, integral, limit or derivative is never accepted for a gold that has none, nor is a function's value
(`\tan 60^\circ`) for a constant that is written without one. Where the gold is a plain number the answer must be in
closed form: digits, a fraction, a root, a power of a prime or of ten; no arithmetic that is still to be done (`3+4`,
`4\cdot6`, `12^2`, `\binom{10}{3}`), save a mixed number written out (`1+5/8`).
"""

import re

from deepscaler.rewards.answers.numbers import parse_number

_PENDING = re.compile(
    r"\\(?:sum|int|iint|iiint|oint|prod|lim|limsup|liminf|partial)(?![a-zA-Z])|\\frac\{d(?:\^\d)?\}\{d"
)
_FUNCTION = re.compile(
    r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?(?![a-zA-Z])|\\(?:log|ln|binom|gcd|lcm|max|min|lfloor|lceil)(?![a-zA-Z])|!"
)
_IRRATIONAL = re.compile(r"\\sqrt|\\pi(?![a-zA-Z])|(?<![a-zA-Z\\])e(?![a-zA-Z])")
_CLOSED_FORM = re.compile(r"(?:\\(?:frac|sqrt|pi|cdot|times|%|circ)(?![a-zA-Z])|[\d\s.,/^(){}\[\]%+\-e])*")
_BINARY_SIGN = re.compile(r"(?<=[\d)}])\s*[+-]")
_PRODUCT = re.compile(r"\\(?:cdot|times)(?![a-zA-Z])|[)\d]\s*\(")
_MIXED_NUMBER = re.compile(r"(?:\d+\s*\+|-\d+\s*-)\s*(?:\d+\s*/\s*\d+|\\frac\{\d+\}\{\d+\})")
_POWER = re.compile(r"(\d+)\s*\^")
_POWER_OF_GROUP = re.compile(r"[)}]\s*\^")
_FACTOR = re.compile(r"(?<![\d^])(?<!\^\{)(\d+)")


def restates(answer: str, gold: str) -> bool:
    """Whether a normalised answer leaves to the reader what the normalised gold has worked out."""
    if _PENDING.search(answer) and not _PENDING.search(gold):
        return True
    if _FUNCTION.search(answer) and not _FUNCTION.search(gold) and _is_constant(gold):
        return True
    number = parse_number(gold)
    if number is None or parse_number(answer) is not None:
        return False
    if not _CLOSED_FORM.fullmatch(answer) or _POWER_OF_GROUP.search(answer):
        return True
    if not all(map(_is_prime_or_ten, _POWER.findall(answer))):
        return True
    if _MIXED_NUMBER.fullmatch(answer) or (number.decimal and _IRRATIONAL.search(answer)):
        return False
    if _BINARY_SIGN.search(answer):
        return True
    is_factorisation = _POWER.search(answer) and all(map(_is_prime_or_ten, _FACTOR.findall(answer)))
    return bool(_PRODUCT.search(answer)) and not is_factorisation


def _is_constant(gold: str) -> bool:
    """Whether a gold holds no variable."""
    return not re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+|(?<![a-zA-Z])[ei](?![a-zA-Z])", "", gold))


def _is_prime_or_ten(digits: str) -> bool:
    """What may be multiplied: a prime in a factorisation, ten in scientific notation; 0 and 1 do no harm."""
    base = int(digits) if len(digits) < 10 else 4
    return base in (0, 1, 10) or all(base % divisor for divisor in range(2, int(base**0.5) + 1))
