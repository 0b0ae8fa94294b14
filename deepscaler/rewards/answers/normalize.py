r"""One spelling for what LaTeX can write in many: `\dfrac12 ` and `\frac{1}{2}`, `3,\!200` and `3,200`, `²` and `^{2}`.

Purely textual, linear in the input, idempotent. It changes how an answer is written, never what it says.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

_UNICODE = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ",
    "÷": "/", "⁄": "/", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "±": r"\pm ", "°": r"^{\circ}", "½": r"\frac{1}{2}",
    "⅓": r"\frac{1}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ",
    "√": r"\sqrt ", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "，": ",", "；": ";", "′": "'", "’": "'",
    "″": "''", '"': "''",
}  # fmt: skip
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|(\d+(?:\.\d+)?))")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", "0123456789-n")


def _quotes(match: re.Match[str]) -> str:
    r"""`^{\prime\prime}` is two marks."""
    return "'" * match.group().count("prime")


# Applied in this order: a later rule relies on the earlier ones.
_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right)\s*\.", ""),
        (r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits)(?![a-zA-Z])", ""),
        (r"(?<=\d),\s?\\!\s*(?=\d{3})", ""),  # 3,\!200 is one number, whatever list it stands in
        (r"(?<=\d)\{,\}(?=\d{3})", ""),
        (r"\\!", ""),
        (r"(?<!\\)\$", ""),
        (r"^\s*(?:\*\*(.+)\*\*|`(.+)`)\s*$", r"\1\2"),
        (r"\\(?:large|Large|huge|Huge|small)(?![a-zA-Z])", ""),
        (r"\\(?:underline|fbox|framebox|textcolor\s*\{[a-z]*\}|color\s*\{[a-z]*\})\s*\{([^{}]*)\}", r"\1"),
        (r"(\\\\)\s*\[-?\d+(?:\.\d+)?\s*\w*\]", r"\1"),
        (r"\\langle(?![a-zA-Z])", "("),
        (r"\\rangle(?![a-zA-Z])", ")"),
        (r"\\div(?![a-zA-Z])", "/"),
        (r"\{\s*([^{}]*)\\over(?![a-zA-Z])\s*([^{}]*)\}", r"\\frac{\1}{\2}"),
        (r",?\s*\\text\s*\{\s*,?\s*for (?:all|any|every|each)\b.*$", ""),
        (r"(\([^()]*,[^()]*\))\s+(?=\([^()]*,)", r"\1, "),
        (r"(?<!\\)\\(?:[,;:> ]|q?quad(?![a-zA-Z])|hspace\{[^{}]*\})|~", " "),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\(?:dbinom|tbinom)(?![a-zA-Z])", r"\\binom"),
        (r"\{([^{}]*)\\choose([^{}]*)\}", r"\\binom{\1}{\2}"),
        (r"\\leq(?:slant)?(?![a-zA-Z])", r"\\le"),
        (r"\\geq(?:slant)?(?![a-zA-Z])", r"\\ge"),
        (r"\\neq(?![a-zA-Z])", r"\\ne"),
        (r"<=", r"\\le "),
        (r">=", r"\\ge "),
        (r"\\(?:ast|cdotp)(?![a-zA-Z])|(?<!\*)\*(?!\*)", r"\\cdot "),
        (r"\*\*", "^"),
        (r"\\varnothing(?![a-zA-Z])", r"\\emptyset"),
        (r"(?<![a-zA-Z\\])pi(?![a-zA-Z])", r"\\pi"),
        (r"(?<![a-zA-Z\\])(?:infinity|infty|oo)(?![a-zA-Z])", r"\\infty"),
        (r"(?<![a-zA-Z\\])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\lbrack(?![a-zA-Z])", "["),
        (r"\\rbrack(?![a-zA-Z])", "]"),
        (r"\\(?:simeq|thickapprox|doteq)(?![a-zA-Z])", r"\\approx"),
        (r"(?<=[\d}./])\s*(?:\\[ ,;])?\s*\\mathrm\s*\{(?=[^{}]*(?:[a-zA-Z]{2}|[mskgNJKWVAC]))", r" \\text{"),
        (r"\\(?:mathrm|mathbf|mathit|boldsymbol|bm|operatorname|mathcal|mathsf|rm|bf|it)\s*\{([^{}]*)\}", r"\1"),
        (r"\\(?:textbf|textit|textrm|mbox|textnormal|emph|texttt)\s*\{", r"\\text{"),
        (r"\\sqrt\s+(?=[\w({\\])", r"\\sqrt"),
        (r"\\text\s*\{([^{}a-zA-Z]*)\}", r" \1 "),
        (r"\\sqrt(\[\w+\])?\s*(\d+|[a-zA-Z])", r"\\sqrt\1{\2}"),
        (r"\\log\s*_\s*(?:e|\{e\})(?![a-zA-Z])", r"\\ln"),
        (r"\\lg(?![a-zA-Z])", r"\\log_{10}"),
        (r"\\[bp]?mod\s*(\w+)", r"\\pmod{\1}"),
        (r"(?<=\d)\s*(?:\^\s*\{?\s*)?(?:\\text\s*\{)?\s*(?:st|nd|rd|th)(?![a-zA-Z])\s*\}{0,2}", ""),
        (r"(?i)^\s*(?:\\text\s*\{)?\s*(?:the )?(?:final )?answer(?: is)?\s*:?\s*\}?", ""),
        (r"\^\(([^()]*)\)", r"^{\1}"),
        (r"\\frac\s*(\d)\s*(\d)(?!\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\{[^{}]*\})\s*(\d|[a-zA-Z])", r"\1{\2}"),
        (r"\^(\\frac\{[^{}]*\}\{[^{}]*\})", r"^{\1}"),
        (r"([_^])\s+", r"\1"),
        (r"([_^])\{\s*([^\s{}])\s*\}", r"\1\2"),
        (r"\{\s+", "{"),
        (r"\s+\}", "}"),
        (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![a-zA-Z])|\\degrees?(?![a-zA-Z])", r"^\\circ "),
        (r"\^\s*(?:\\prime(?![a-zA-Z])|\{((?:\s*\\prime(?![a-zA-Z]))+)\s*\})", _quotes),
        (r"\s+", " "),
    )
)
_CASES = re.compile(r"\\begin\{cases\}([^&]*)\\end\{cases\}")
_DELIMITERS = (("\\(", "\\)"), ("\\[", "\\]"))
_MAX_PASSES = 8


@lru_cache(maxsize=4096)
def normalize(text: str) -> str:
    r"""The canonical spelling of an answer; `normalize(normalize(x)) == normalize(x)`.

    >>> normalize(r" $\dfrac12$. ")
    '\\frac{1}{2}'
    """
    for _ in range(_MAX_PASSES):
        previous, text = text, _normalize_once(text)
        if text == previous:
            break
    return text


def _normalize_once(text: str) -> str:
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ]+", lambda m: "^{" + m.group().translate(_SUPERSCRIPTS) + "}", text)
    text = _ROOT.sub(lambda m: "\\sqrt{" + (m[1] or m[2]) + "}", text)
    for character, latex in _UNICODE.items():
        text = text.replace(character, latex)
    text = unicodedata.normalize("NFKC", text)
    text = _undouble_backslashes(text.strip())
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return _unwrap(text.strip())


def _undouble_backslashes(text: str) -> str:
    r"""`\\frac` from a twice-escaped source back to `\frac`; the row breaks of a matrix stay."""
    if r"\\begin" in text or (r"\begin" not in text and re.search(r"\\\\[a-zA-Z]", text)):
        return text.replace("\\\\", "\\")
    return text


def _unwrap(text: str) -> str:
    """Without math delimiters, a box around all of it, or the full stop that ends a sentence."""
    if text.startswith("\\boxed{") and text.endswith("}"):
        text = text[len("\\boxed{") : -1]
    if cases := _CASES.fullmatch(text):
        text = cases[1].strip().removesuffix("\\\\").replace("\\\\", ", ")
    for opening, closing in _DELIMITERS:
        text = text.strip().removeprefix(opening).removesuffix(closing)
    return text.strip(" $").rstrip("\\.,;: ").strip()
