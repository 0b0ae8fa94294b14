r"""Answers that are a literal number, read exactly: `7.8\times10^2`, `1 1/2`, `28\%`, `1,000`, `-\frac{3}{4}`, `8.7e8`.

Nothing is computed: `6!`, `2+2` and `12^2` are no literals.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

RELATIVE_TOLERANCE = Fraction(11, 10_000_000)
"""A decimal approximation must be right to six significant digits: 0.333333 passes for 1/3, 0.3333 does not."""

MAX_LENGTH = 400
"""Characters; a longer digit string is compared as text only (Python's own limit for int() is 4300 digits)."""

MAX_EXPONENT = 400
"""Of ten, in scientific notation."""

_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d{1,3}(?:[ ]\d{3})+(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+)"
_NUMBER = re.compile(
    rf"""(?P<sign>[+-]?)\s*(?:
      (?:(?P<whole>\d+)\s*)?\\frac\{{\s*(?P<top>-?{_DECIMAL})\s*\}}\{{\s*(?P<bottom>{_DECIMAL})\s*\}}
    | (?:(?P<whole2>\d+)\s+)?(?P<top2>{_DECIMAL})\s*/\s*(?P<bottom2>{_DECIMAL})
    | (?P<integral>\d*)\.(?P<start>\d*)\\overline\{{(?P<period>\d+)\}}
    | (?P<mantissa>{_DECIMAL})
      (?:\s*(?:\\times|\\cdot|x)\s*10\s*\^\s*(?P<power>\{{\s*[+-]?\d+\s*\}}|[+-]?\d+)|[eE](?P<e>[+-]?\d+))?
    | 10\s*\^\s*(?P<ten>\{{\s*[+-]?\d+\s*\}}|[+-]?\d+)
    )(?:\s*(?:\\text\s*\{{)?\s*(?P<scale>hundred|thousand|million|billion|trillion)s?\s*\}}?)?\s*(?P<percent>\\?%|\\?\s*\bpercent(?:age)?\b|\s*\bpct\b)?""",
    re.VERBOSE,
)
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_LEADING_ZERO_GROUPS = re.compile(r"0+[ ,]")


@dataclass(frozen=True, slots=True)
class Number:
    """A literal's exact value, and how far it may be trusted."""

    value: Fraction
    decimal: bool = False
    """A fractional part written as decimals: possibly rounded."""
    percent: bool = False
    """Followed by a percent sign, which graders read both as 28 and as 0.28."""


@lru_cache(maxsize=4096)
def parse_number(text: str) -> Number | None:
    """The number that a normalised answer spells out; None for anything else."""
    if len(text) > MAX_LENGTH or not (match := _NUMBER.fullmatch(_without_parentheses(text))):
        return None
    sign = -1 if match["sign"] == "-" else 1
    percent = match["percent"] is not None
    if top := match["top"] or match["top2"]:
        denominator = _decimal(match["bottom"] or match["bottom2"])
        if not denominator:
            return None
        whole = Fraction(match["whole"] or match["whole2"] or 0)
        return Number(sign * (whole + _decimal(top) / denominator), "." in text, percent)
    if period := match["period"]:
        digits = Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(match["start"]))
        return Number(sign * (_decimal(f"{match['integral']}.{match['start']}") + digits), percent=percent)
    exponent = int((match["power"] or match["e"] or match["ten"] or "0").strip("{} ")) + _SCALES.get(match["scale"], 0)
    if abs(exponent) > MAX_EXPONENT or (match["mantissa"] and _LEADING_ZERO_GROUPS.match(match["mantissa"])):
        return None
    value = sign * _decimal(match["mantissa"] or "1") * Fraction(10) ** exponent
    return Number(value, value.denominator != 1, percent)


def same_number(answer: Number, gold: Number) -> bool:
    """Equal exactly, or to six significant digits where a decimal stands for what is no integer."""
    values = [answer.value]
    if answer.percent != gold.percent:
        values.append(answer.value / 100 if answer.percent else answer.value * 100)
    rounded = (answer.decimal or gold.decimal) and gold.value.denominator != 1
    return any(value == gold.value or (rounded and close(value, gold.value)) for value in values)


def close(value: Fraction, gold: Fraction) -> bool:
    """Within the relative tolerance; zero is close to nothing but itself."""
    return value * gold > 0 and abs(value - gold) <= RELATIVE_TOLERANCE * abs(gold)


def _decimal(text: str) -> Fraction:
    return Fraction(re.sub("[ ,]", "", text).rstrip(".") or "0")


def _without_parentheses(text: str) -> str:
    """`(-5)` and `{-5}` are -5."""
    while len(text) > 1 and (text[0], text[-1]) in {("(", ")"), ("{", "}")} and not re.search(r"[(){},]", text[1:-1]):
        text = text[1:-1].strip()
    return text
