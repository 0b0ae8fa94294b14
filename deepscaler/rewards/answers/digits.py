r"""Reads the digits of a number in a text: `1,234.5`, `.5`, `8.7e8`, `0.1\overline{6}`, `0.(6)`, `0.666...`.

The result has a single spelling: without separators, the period in brackets (`0.1(6)`), the exponent after an e.
"""

import re

_DIGITS = re.compile(r"\d+")
_GROUP = re.compile(r"(?:\{,\}|,\s?\\!\s?|\\,|,|\\ | )(\d{3})(?!\d)")
_PERIOD = re.compile(r"\\(?:overline|bar|dot)\s*\{(\d{1,30})\}|\\(?:overline|bar|dot)\s*(\d)(?!\d)|\((\d{1,30})\)")
_DOTTED = re.compile(r"\\dot\s*\{?(\d)\}?(\d{0,30})\\dot\s*\{?(\d)\}?")
_ELLIPSIS = re.compile(r"\s?(?:\.\.\.|\\[lc]?dots(?![a-zA-Z]))")
_EXPONENT = re.compile(r"[eE]([+-]?\d{1,6})(?![\da-zA-Z]|\.\d)")
_THRICE = re.compile(r"(\d)\1\1$")
_MAX_PERIOD = 12
_MAX_FIRST_GROUP = 3


def begins_period(text: str, position: int) -> bool:
    """Returns whether a repeating period begins right behind a decimal point."""
    return _PERIOD.match(text, position) is not None


def read_digits(text: str, position: int, *, in_list: bool, after_comma: bool) -> tuple[str, int]:
    """Returns the number that begins at a position, and the position of its end.

    A bare comma separates items if `in_list` (`(1,234)` is a pair), and if neighboring commas do (`1,234,5`).
    """
    match = _DIGITS.match(text, position)
    digits, here = (match.group(), match.end()) if match else ("", position)
    if match and len(digits) <= _MAX_FIRST_GROUP:
        digits, here = _thousands(text, digits, here, in_list or after_comma)
    if text[here : here + 1] == "." and text[here + 1 : here + 3] != "..":
        decimals = _DIGITS.match(text, here + 1)
        tail, end = (decimals.group(), decimals.end()) if decimals else ("", here + 1)
        if period := (_DOTTED.match(text, end) or _PERIOD.match(text, end)):
            return f"{digits or 0}.{tail}({''.join(filter(None, period.groups()))})", period.end()
        if tail:
            digits, here = f"{digits}.{tail}", end
            if dots := _ELLIPSIS.match(text, here):
                return _continued(digits), dots.end()
    if exponent := _EXPONENT.match(text, here):
        return f"{digits}e{exponent[1]}", exponent.end()
    return digits, here


def _thousands(text: str, digits: str, here: int, separates: bool) -> tuple[str, int]:
    r"""Returns `1,234,567`, `1{,}234`, `3,\!200`, `10\,080` or `10 080` as one number, as far as it is one."""
    whole, end, bare, spaced = digits, here, False, False
    # Groups of exactly three digits: 1,2345 is two numbers, as 1,234,5 is three.
    while group := _GROUP.match(text, end):
        sign = text[end]
        bare = bare or (sign == "," and text[end + 1 : end + 2].isdigit())
        spaced = spaced or sign == " "
        whole, end = whole + group[1], group.end()
    follows = text[end : end + 2]
    # 0,123 is not one hundred and twenty-three, and 2 100/101 is a mixed number.
    if digits.startswith("0") or (spaced and follows[:1] == "/"):
        return digits, here
    # In brackets a bare comma separates: (1,234) is a pair. The original grader joins the two.
    if bare and (separates or (follows[:1] == "," and follows[1:].isdigit())):
        return digits, here
    return whole, end


def _continued(digits: str) -> str:
    """Returns `0.666...` as 2/3 and `0.142857142857...` as 1/7; `3.14159...` has only the digits shown."""
    whole, _, tail = digits.partition(".")
    # Three equal digits, so that 0.66... is not taken for 2/3: two may be a rounded number's.
    if _THRICE.search(tail):
        return f"{whole or 0}.{tail[:-1]}({tail[-1]})"
    for size in range(2, min(len(tail) // 2, _MAX_PERIOD) + 1):
        if tail[-size:] == tail[-2 * size : -size]:
            return f"{whole or 0}.{tail[:-size]}({tail[-size:]})"
    return digits
