r"""Turns LaTeX into MathML as plain lists, from which the page builds elements. No model's markup reaches a parser.

trees(["What is $\frac{1}{2}$?"])  ->  {"\\frac{1}{2}": ["mfrac", {}, ["mn", {}, "1"], ["mn", {}, "2"]]}

latex2mathml is pure Python and small, and browsers draw MathML themselves; KaTeX and MathJax need scripts and fonts.
"""

import html
import re
from collections.abc import Iterable
from typing import Any
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element

FORMULA = (
    r"\$\$([^$]{1,2000})\$\$"
    r"|\\\[((?:(?!\\[\[\]])[\s\S]){1,2000})\\\]"
    r"|\\\(((?:(?!\\[()])[\s\S]){1,2000})\\\)"
    # Pandoc's rule for a single dollar (tex_math_dollars): "it costs $5 or $6" is not a formula.
    r"|\$(?=\S)([^$\n]{1,500})(?<=\S)\$(?!\d)"
    r"|(\\boxed\{(?:[^{}]|\{(?:[^{}]|\{[^{}]{0,200}\}){0,200}\}){0,500}\})"
)
r"""Pattern of formulas for Python and for the page's script: $$x$$, \[x\], \(x\), $x$, and \boxed{x} by itself.

No alternative reads past the start of the next possible formula, or past its own bound. So the time is linear in the
length of the text, whatever a model wrote.
"""

MAX_LENGTH = 2000
"""Most characters of a formula; a longer one stays LaTeX."""

MAX_DEPTH = 60
"""Most nested elements; a deeper formula stays LaTeX."""

ELEMENTS = frozenset(
    [
        "math",
        "mrow",
        "mi",
        "mn",
        "mo",
        "mtext",
        "mspace",
        "ms",
        "mfrac",
        "msqrt",
        "mroot",
        "mstyle",
        "merror",
        "mpadded",
        "mphantom",
        "menclose",
        "msub",
        "msup",
        "msubsup",
        "munder",
        "mover",
        "munderover",
        "mmultiscripts",
        "mprescripts",
        "none",
        "mtable",
        "mtr",
        "mtd",
        "mlabeledtr",
    ]
)
"""Allowed elements; any other element becomes an mrow with its content."""

ATTRIBUTES = frozenset(
    [
        "accent",
        "accentunder",
        "columnalign",
        "columnspacing",
        "columnlines",
        "rowspacing",
        "rowlines",
        "displaystyle",
        "scriptlevel",
        "fence",
        "form",
        "linethickness",
        "lspace",
        "rspace",
        "mathvariant",
        "maxsize",
        "minsize",
        "movablelimits",
        "notation",
        "separator",
        "stretchy",
        "symmetric",
        "width",
        "height",
        "depth",
    ]
)
"""Allowed attributes; none of them links, styles or handles events."""

DISPLAY = "\t"
"""First character of the key of a displayed formula, whose sums have their limits above and below."""

_FORMULA = re.compile(FORMULA)
_VALUE = re.compile(r"[\w .%+-]{0,60}")


def formulas(text: str) -> list[str]:
    """Returns the LaTeX of all formulas in a text, in order; displayed ones begin with a tab."""
    return [_key(match) for match in _FORMULA.finditer(text)]


def _key(match: re.Match[str]) -> str:
    shown = match[1] or match[2]
    return DISPLAY + shown if shown else next(part for part in match.groups() if part is not None)


def trees(texts: Iterable[str], at_most: int) -> dict[str, Any]:
    """Returns the trees of the first `at_most` different formulas in some texts, without those that do not parse."""
    found: dict[str, Any] = {}
    seen: set[str] = set()
    for text in texts:
        for latex in formulas(text):
            if len(seen) >= at_most:
                return found
            if latex in seen:
                continue
            seen.add(latex)
            tree = tree_of(latex)
            if tree is not None:
                found[latex] = tree
    return found


def tree_of(latex: str) -> list[Any] | None:
    """Returns a formula as [element, attributes, child, ...]; None if it is too long, too deep or does not parse."""
    if not latex.strip() or len(latex) > MAX_LENGTH:
        return None
    try:
        return _tree(convert_to_element(latex, display="block" if latex.startswith(DISPLAY) else "inline"), MAX_DEPTH)
    except Exception:  # latex2mathml raises many types of errors on arbitrary text
        return None


def _tree(element: Element, depth: int) -> list[Any]:
    if depth == 0:
        raise ValueError("too deep")
    name = element.tag if element.tag in ELEMENTS else "mrow"
    attributes = {
        # Values are bounded too, since a formula can give them: lengths and words, no url() and no markup.
        key: value
        for key, value in element.attrib.items()
        if key in ATTRIBUTES and _VALUE.fullmatch(str(value))
    }
    text = html.unescape(element.text or "")  # latex2mathml writes characters as HTML references
    children = [_tree(child, depth - 1) for child in element]
    return [name, attributes, *([text] if text else []), *children]
