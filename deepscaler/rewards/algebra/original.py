r"""Decides as DeepScaleR's original grader did, for comparison with published numbers: two normal forms, then algebra.

The behavior is that of deepscaler/rewards/math_utils/utils.py in the DeepScaleR repository, which follows PRM800K's and
Hendrycks' MATH graders. Its quirks are kept: a float under 1e-7 is 0, `32, 349` is 32349, lists have no order, and
unreduced fractions are wrong. Its two dangers are not: it evaluated Python from the answer, and it had no time limit.
pylatexenc flattens LaTeX here because the original uses it, and the decisions must agree.
"""

import math
import re
from collections.abc import Callable

_UNITS = (
    *("degree", "cm", "centimeter", "meter", "mile", "second", "minute", "hour", "day"),
    *("week", "month", "year", "foot", "feet", "inch", "yard"),
)
_MULTIPLES = {"million": "*10^6", "billion": "*10^9", "trillion": "*10^12"}
_SYMBOLS = {"√": "sqrt", "π": "pi", "∞": "inf", "∪": "U", "·": "*", "×": "*"}
_ENCLOSING_TEXT = re.compile(r"^\\text\{(.+?)\}$")
_FRACTION = re.compile(r"^-?[0-9]+.?/0*[1-9][0-9]*.?$")
_THOUSANDS = re.compile(r"(\d),(\d\d\d)($|\D)")
_TOWERS = re.compile(r"\^\{|\^\(|\^[0-9]+\^|\^[0-9][0-9]+")
_BRACKETS = "()[]"
_INTEGER_TOLERANCE = 1e-7


def cheap(answer: str, gold: str) -> bool | None:
    """Returns the decision if it needs neither algebra nor LaTeX; None otherwise."""
    if _math_form(answer) == _math_form(gold):
        return True
    # The original flattens LaTeX by pylatexenc, which only workers import.
    if "\\" in answer or "\\" in gold:
        return None
    return _decide_by_parts(answer, gold, algebra=lambda a, b: None)


def decide(answer: str, gold: str) -> bool:
    """Returns the full decision. It may take forever, so the caller must bound it."""
    if _math_form(answer) == _math_form(gold):
        return True
    from deepscaler.rewards.algebra.original_algebra import same_by_algebra  # noqa: PLC0415  sympy, in workers only

    return bool(_decide_by_parts(answer, gold, algebra=same_by_algebra))


def _decide_by_parts(answer: str, gold: str, algebra: Callable[[str, str], bool | None]) -> bool | None:
    """Returns PRM800K's decision: equal normal forms, or equal elements of a tuple."""
    answer, gold = _prm_form(answer), _prm_form(gold)
    if answer == gold:
        return True
    if not answer:
        return False
    answers, golds = _elements(answer), _elements(gold)
    # The original compares the brackets of tuples, so [1,2) is not (1,2) there either.
    if len(golds) > 1 and (gold[0] != answer[0] or gold[-1] != answer[-1]):
        return False
    if len(answers) != len(golds):
        return False
    verdicts = [_same_element(a, g, algebra) for a, g in zip(answers, golds, strict=True)]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _same_element(answer: str, gold: str, algebra: Callable[[str, str], bool | None]) -> bool | None:
    if _FRACTION.search(answer) and _FRACTION.search(gold):
        return answer == gold  # as in the original, an unreduced fraction is wrong
    if (_integer(answer) is None) != (_integer(gold) is None):
        return False  # as in the original, an integer requires a strict match
    # PRM800K hands only short differences to sympy: at most two letters, and no towers of powers. Others are wrong.
    difference = f"({gold})-({answer})"
    letters = {c for c in difference.replace("sqrt", "").replace("frac", "") if c.isalpha()}
    return False if len(letters) > 2 or _TOWERS.search(difference) else algebra(answer, gold)


def _math_form(text: str) -> str:
    """Returns Hendrycks' normal form."""
    text = text.strip()
    if enclosed := _ENCLOSING_TEXT.search(text):
        text = enclosed[1].strip()
    for old, new in (("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", ""),
                     ("\\right", ""), ("^{\\circ}", ""), ("^\\circ", ""), ("\\$", "")):  # fmt: skip
        text = text.replace(old, new)
    if text.count("\\text{ ") == 1:  # a unit
        text = text.partition("\\text{ ")[0]
    text = text.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    text = "0" + text if text.startswith(".") else text
    # `k = 5` is 5 for a name of at most two characters, as in Hendrycks' code.
    name, _, value = text.partition("=")
    if text.count("=") == 1 and len(name) <= 2:
        text = value
    text = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", text).replace(" ", "")
    text = re.sub(r"\\frac([^{])([^{])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac([^{])\{", r"\\frac{\1}{", text)
    if text == "0.5":  # the one decimal that Hendrycks' form rewrites
        return r"\frac{1}{2}"
    return re.sub(r"^(-?(?:0|[1-9]\d*))/(-?(?:0|[1-9]\d*))$", r"\\frac{\1}{\2}", text)


def _prm_form(text: str) -> str:
    """Returns PRM800K's normal form."""
    if enclosed := _ENCLOSING_TEXT.search(text):
        text = enclosed[1]
    for sign in ("\\%", "\\$", "$", "%"):
        text = text.replace(sign, "")
    text = text.replace(" or ", " , ").replace(" and ", " , ")
    for word, power in _MULTIPLES.items():
        text = text.replace(word, power)
    for unit in _UNITS:
        # Anywhere in the text: the original also removes `day` from `today`, and that is kept.
        text = re.sub(rf"{unit}(es)?(s)? *(\^[0-9]+)?", "", text)
    text = re.sub(r"\^ *\\circ", "", text)
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = re.sub(r",\\! *", "", text)
    number = _float(text)
    if number is not None and abs(number) < 1e300 and abs(number - round(number)) <= _INTEGER_TOLERANCE:
        text = str(round(number))
    if "\\" in text:
        text = _plain_text(text)
    text = re.sub(r"([0-9]) +([0-9])", r"\1+\2", re.sub("- *", "-", text))  # 7 3/4 is 7+3/4
    text = re.sub("[ {}]", "", text).lower()
    integer = _integer(text)
    return text if integer is None else str(integer)


def _plain_text(latex: str) -> str:
    """Returns LaTeX as a line of text, using pylatexenc as in the original; unchanged if that fails."""
    from pylatexenc.latex2text import LatexNodes2Text  # noqa: PLC0415  in workers only

    latex = latex.replace("\\tfrac", "\\frac").replace("\\dfrac", "\\frac").replace("\\frac", " \\frac")
    try:
        text = str(LatexNodes2Text().latex_to_text(latex))
    except Exception:  # the original continued with the unchanged text
        return latex
    for symbol, name in _SYMBOLS.items():
        text = text.replace(symbol, name)
    return text.strip()


def _elements(text: str) -> list[str]:
    """Returns the elements of a tuple or interval, or else the text itself."""
    text = _without_thousands(text)
    enclosed = len(text) > 2 and text[0] in _BRACKETS and text[-1] in _BRACKETS
    if enclosed and not any(bracket in text[1:-1] for bracket in _BRACKETS):
        return [element.strip() for element in text[1:-1].split(",")]
    return [text] if text else []


def _integer(text: str) -> int | None:
    number = _float(_without_thousands(text))
    if number is None or abs(number) > 1e300 or abs(number - round(number)) > _INTEGER_TOLERANCE:
        return None
    return int(number)


def _float(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _without_thousands(text: str) -> str:
    previous = None
    while previous != text:
        previous, text = text, _THOUSANDS.sub(r"\1\2\3", text)
    return text
