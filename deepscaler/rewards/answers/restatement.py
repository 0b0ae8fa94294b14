r"""Rejects answers that restate the question: `6!` for 720 or `\int_0^1 x^2 dx` for 1/3 is reward hacking.

A sum, product, integral, limit or derivative is never accepted for a gold without one, nor is a function's value
(`\tan 60^\circ`) for a constant that is written without one. If the gold is a plain number, the answer must be in
closed form: digits, a fraction, a root, a power of a prime or of ten. Open arithmetic (`3+4`, `4\cdot6`, `12^2`,
`\binom{10}{3}`) is refused, except for a mixed number written out (`1+5/8`).
"""

from deepscaler.rewards.answers.nodes import Node, symbols, walk
from deepscaler.rewards.answers.numbers import literal
from deepscaler.rewards.answers.vocabulary import PENDING

_FUNCTIONS = frozenset({"function", "factorial", "binom", "abs", "norm"})
_IRRATIONAL = frozenset({"\\pi", "e"})
_MAX_PRIME = 10**9


def restates(answer: Node, gold: Node) -> bool:
    """Returns whether an answer leaves a calculation open that the gold has completed."""
    if _has_pending(answer) and not _has_pending(gold):
        return True
    if not symbols(gold) and _has_function(answer) and not _has_function(gold):
        return True
    number = literal(gold)
    # Two literals are compared as numbers, also where one is not reduced: 10/4 is 5/2, a choice of this grader.
    if number is None or literal(answer) is not None:
        return False
    if _is_mixed(answer):
        return False
    if number.decimal and any(part.kind == "root" or part.value in _IRRATIONAL for part in walk(answer)):
        return not all(_may_stand(part, strict=False) for part in walk(answer))
    return not all(_may_stand(part, strict=True) for part in walk(answer)) or not _is_factorised(answer)


def _has_pending(node: Node) -> bool:
    return any((part.kind == "opaque" and part.value in PENDING) or part.value == "\\derivative" for part in walk(node))


def _has_function(node: Node) -> bool:
    return any(part.kind in _FUNCTIONS for part in walk(node))


def _may_stand(node: Node, *, strict: bool) -> bool:
    if node.kind in ("number", "neg", "mul", "root"):
        return True
    if node.kind == "div":
        return literal(node) is not None or not strict or not any(p.kind in ("add",) for p in walk(node))
    if node.kind == "power":
        base, exponent = node.args
        return literal(exponent) is not None and ((base.kind == "number" and _is_prime_or_ten(base)) or not strict)
    if node.kind == "add":
        return not strict
    return node.kind == "symbol" and node.value in _IRRATIONAL


def _is_factorised(node: Node) -> bool:
    r"""Returns whether every product in a tree has a root (`2\sqrt{4}`), or only primes with a power among them."""
    for part in walk(node):
        if part.kind == "mul":
            if any(factor.kind == "root" for factor in part.args):
                continue
            bases = [factor.args[0] if factor.kind == "power" else factor for factor in part.args]
            if not any(factor.kind == "power" for factor in part.args) or not all(map(_is_prime_or_ten, bases)):
                return False
    return True


def _is_prime_or_ten(node: Node) -> bool:
    """Returns whether a number may be a factor: a prime in a factorization, ten in scientific notation, 0 and 1."""
    number = literal(node)
    if number is None or number.value.denominator != 1 or not 0 <= number.value < _MAX_PRIME:
        return False
    base = int(number.value)
    # Some 31,600 divisions at most, because a base is below 10^9.
    return base in (0, 1, 10) or all(base % divisor for divisor in range(2, int(base**0.5) + 1))


def _is_mixed(node: Node) -> bool:
    """Returns whether a tree is a mixed number written out: `1+5/8`, `-1-5/8`."""
    if node.kind != "add" or len(node.args) != 2:
        return False
    whole, part = literal(node.args[0]), literal(node.args[1])
    return (
        whole is not None and part is not None and whole.value.denominator == 1 and part.value.denominator != 1
        and not part.decimal and abs(part.value) < 1 and whole.value * part.value > 0
    )  # fmt: skip
