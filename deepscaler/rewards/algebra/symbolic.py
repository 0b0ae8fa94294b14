r"""Compares two trees by their values at random points, exactly or to 50 digits. This is the expensive comparison.

Only worker processes import it. Expressions that agree at random points are equal (Schwartz-Zippel). Two equations are
equal if the differences of their sides are constant multiples of each other.
"""

import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache

import mpmath

from deepscaler.rewards.algebra.evaluate import DIGITS, PRECISION, Evaluator, UndefinedError, Value
from deepscaler.rewards.answers.equivalence import compare
from deepscaler.rewards.answers.literals import Verdict, canonical, decide_cheaply
from deepscaler.rewards.answers.nodes import CONSTANTS, Node, Number, negated, walk
from deepscaler.rewards.answers.numbers import close, half_step, literal

NUM_SAMPLES = 5
"""Random positive points at which two expressions in variables must agree."""

NUM_INTEGER_SAMPLES = 24
"""Integer points for trees with steps (floor, gcd), which may agree nearly everywhere and differ at some integers."""

MIN_VALID = 3
"""Least number of points at which both trees must have a value."""

_STEPS = frozenset({"floor", "ceil", "gcd", "lcm"})
_FOLDS = frozenset({"max", "min"})


def is_equivalent(answer: str, gold: str) -> bool:
    """Returns the result of the full comparison. It may take forever, so the caller must bound it."""
    return bool(compare(answer, gold, _leaf))


def _leaf(answer: Node, gold: Node, *, worked: bool = False) -> Verdict:
    verdict = decide_cheaply(answer, gold, worked=worked)
    return same_expression(answer, gold) if verdict is None else verdict


def same_expression(answer: Node, gold: Node) -> bool:
    """Compares two scalars or relations by their values."""
    with mpmath.workdps(PRECISION):
        if answer.kind == "relation" or gold.kind == "relation":
            return answer.kind == gold.kind and _same_relation(answer, gold)
        # If either is a decimal, six digits are enough: 1.5\pi and 4.712389 are equal.
        rounded = _is_rounded(answer) or _is_rounded(gold)
        slack = max(half_step(number) for number in (literal(answer), literal(gold), Number(Fraction(0))) if number)
        valid = 0
        for point, must_be_real in _points(answer, gold):
            values = _values(point, answer, gold)
            if values is None:
                continue
            if must_be_real and any(isinstance(value, mpmath.mpc) for value in values):
                if _has_no_value(values[0]) and not isinstance(values[1], mpmath.mpc):  # \ln x where \ln|x| has one
                    return False
                continue
            if not _agree(values[0], values[1], rounded, slack):
                return False
            valid += 1
        # Constants have one point only, and variables several, since two expressions may agree at one by chance.
        return valid >= MIN_VALID or (valid > 0 and not _variables(answer, gold))


def _has_no_value(value: Value) -> bool:
    """Returns whether a value is not real, apart from rounding."""
    return isinstance(value, mpmath.mpc) and abs(value.imag) > mpmath.mpf(10) ** -DIGITS * abs(value)


def _values(point: Mapping[Node, Fraction], *nodes: Node) -> list[Value] | None:
    evaluate = Evaluator(point, canonical)
    try:
        return [evaluate(node) for node in nodes]
    # Whatever mpmath raises at a pole or out of a domain: this point then says nothing about the two.
    except (UndefinedError, ZeroDivisionError, ValueError, OverflowError, KeyError):
        return None


@lru_cache(maxsize=1024)
def _variables(*nodes: Node) -> tuple[Node, ...]:
    found = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.kind in ("opaque", "call", "words"):
            found.add(canonical(node))
        elif node.kind == "symbol":
            found |= {node} - {Node("symbol", (), name) for name in CONSTANTS}
        else:
            waiting.extend(node.args)
    # Sorted by repr, because nodes have no order, and a set's own order differs in each process.
    return tuple(sorted(found, key=repr))


def _is_rounded(node: Node) -> bool:
    return any(part.kind == "number" and part.value.decimal for part in walk(node))


def _points(*nodes: Node) -> Iterator[tuple[dict[Node, Fraction], bool]]:
    """Yields points, and whether both values must be real there; variables in a fold such as |x| may be negative."""
    # A fixed seed, so an answer always gets the same grade. The points are positive, so roots and logarithms are real.
    variables, generator = _variables(*nodes), random.Random(0)
    if not variables:
        yield {}, False
        return
    parts = [part for node in nodes for part in walk(node)]
    if any(part.kind == "function" and part.value in _STEPS for part in parts) or any(map(_alternates, parts)):
        # From 1 on, as the indices of sequences: floor(n/2) and n/2 agree at every even number.
        for size in [*range(1, NUM_INTEGER_SAMPLES + 1), 10**2, 10**3]:
            yield (
                {
                    v: Fraction(size + generator.randint(0, size))
                    + (0 if _is_whole(v) else Fraction(generator.randint(0, 9), 10))
                    for v in variables
                },
                False,
            )
        return
    for _ in range(NUM_SAMPLES):
        yield {variable: Fraction(generator.randint(5, 399), 100) for variable in variables}, False
    # All below 1, then all above 4: max(x, 1) differs from x below 1 alone, min(x, 4) above 4 alone.
    yield {variable: Fraction(generator.randint(5, 90), 100) for variable in variables}, False
    yield {variable: Fraction(generator.randint(400, 4000), 100) for variable in variables}, False
    folded = {inner for part in parts if _folds(part) for inner in _variables(part)}
    # Negative values show that \sqrt{x^2} is |x| and not x; beside i, values are complex on purpose.
    if folded and not any(part.value == "i" for part in parts if part.kind == "symbol"):
        for _ in range(4 * NUM_SAMPLES):
            point = {variable: Fraction(generator.randint(5, 999), 100) for variable in variables}
            yield {v: -size if v in folded and generator.random() < 0.5 else size for v, size in point.items()}, True


def _is_whole(variable: Node) -> bool:
    """Returns whether a variable's letter usually stands for an integer."""
    return str(variable.value)[:1] in "ijklmnpqKLMN"


def _alternates(part: Node) -> bool:
    """Returns whether a part is like (-1)^n, which has real values only at integers."""
    if part.kind != "power" or part.args[1].kind == "number":
        return False
    base = literal(part.args[0])
    return base is not None and base.value < 0


def _folds(part: Node) -> bool:
    """Returns whether a part may map x and -x to the same value: |x|, max, the root of a square."""
    if part.kind == "abs" or (part.kind == "function" and part.value in _FOLDS):
        return True
    return (
        part.kind == "root"
        and part.args[1].kind == "power"
        and (number := literal(part.args[1].args[1])) is not None
        and number.value % 2 == 0
    )


def _same_relation(answer: Node, gold: Node) -> bool:
    """Returns whether the differences of sides have a constant ratio, so they vanish together."""
    if answer.value != gold.value or len(answer.args) != 2:
        return False
    differences = [Node("add", (node.args[0], negated(node.args[1]))) for node in (answer, gold)]
    if _variables(differences[0]) != _variables(differences[1]):
        return False
    ratio: Value = None
    valid = 0
    for point, must_be_real in _points(*differences):
        values = _values(point, *differences)
        if (
            values is None
            or (must_be_real and any(isinstance(value, mpmath.mpc) for value in values))
            # A point where both vanish fits any ratio.
            or values[0] == 0
            or values[1] == 0
        ):
            continue
        evaluated = [mpmath.mpf(v.numerator) / v.denominator if isinstance(v, Fraction) else v for v in values]
        current = evaluated[0] / evaluated[1]
        if ratio is not None and not _agree(current, ratio, rounded=False):
            return False
        ratio = current
        valid += 1
    # Multiplying both sides by a negative number turns an inequality around.
    is_direction = answer.value[0] not in ("=", "\\equiv", "\\ne")
    return valid >= MIN_VALID and (not is_direction or ratio.real > 0)


def _agree(answer: Value, gold: Value, rounded: bool, slack: Fraction = Fraction(0)) -> bool:
    """Returns whether two numbers agree exactly or to all digits, or to six digits if one was given as a decimal."""
    if isinstance(answer, Fraction) and isinstance(gold, Fraction):
        return answer == gold or (rounded and close(answer, gold, slack))
    left, right = (
        mpmath.mpmathify(value) if not isinstance(value, Fraction) else mpmath.mpf(value.numerator) / value.denominator
        for value in (answer, gold)
    )
    if mpmath.isinf(left) or mpmath.isinf(right):
        return bool(left == right)
    size = max(abs(left), abs(right))
    difference = abs(left - right)
    # Relative, except beside an exact 0, where nothing is relative.
    tiny = mpmath.mpf(10) ** -DIGITS
    if difference <= tiny * size or (difference <= tiny and (left == 0 or right == 0)):
        return True
    allowed = max(mpmath.mpf(11) / 10_000_000 * abs(right), mpmath.mpf(slack.numerator) / slack.denominator)
    # Of one sign: no rounding turns -1e-9 into 1e-9.
    return rounded and left.real * right.real > 0 and bool(difference <= allowed)
