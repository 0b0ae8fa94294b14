r"""Turns LaTeX into MathML as plain lists, of which the page builds elements: no markup of a model reaches a parser.

trees(["What is $\frac{1}{2}$?"])  ->  {"\\frac{1}{2}": ["mfrac", {}, ["mn", {}, "1"], ["mn", {}, "2"]]}
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
    r"|\$(?=\S)([^$\n]{1,500})(?<=\S)\$(?!\d)"
    r"|(\\boxed\{(?:[^{}]|\{(?:[^{}]|\{[^{}]{0,200}\}){0,200}\}){0,500}\})"
)
r"""Finds formulas, in Python as in the page, which gets this text: $$x$$, \[x\], \(x\), $x$, and \boxed{x} by itself.

No alternative reads beyond where the next formula could begin, or more than its bound: the time grows with the text,
whatever a model wrote.
"""

MAX_LENGTH = 2000
"""Characters of a formula; a longer one stays LaTeX."""

MAX_DEPTH = 60
"""Of elements in each other; what is nested deeper stays LaTeX."""

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
"""The only elements there are; any other one is replaced by what is in it."""

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
"""The only attributes: nothing that links, styles or handles events."""

DISPLAY = "\t"
"""Begins the key of a formula that stands on a line of its own: its sums have their limits above and below."""

_FORMULA = re.compile(FORMULA)
_VALUE = re.compile(r"[\w .%+-]{0,60}")


def formulas(text: str) -> list[str]:
    """Returns the LaTeX of all formulas in a text, in order; one that stands on a line of its own begins with a tab."""
    return [_key(match) for match in _FORMULA.finditer(text)]


def _key(match: re.Match[str]) -> str:
    shown = match[1] or match[2]
    return DISPLAY + shown if shown else next(part for part in match.groups() if part is not None)


def trees(texts: Iterable[str], at_most: int) -> dict[str, Any]:
    """Returns the trees of the first `at_most` different formulas in some texts; none for what is no LaTeX."""
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
    """Returns a formula as [element, attributes, child, ...]; None where it is too long, too deep or no LaTeX."""
    if not latex.strip() or len(latex) > MAX_LENGTH:
        return None
    try:
        return _tree(convert_to_element(latex, display="block" if latex.startswith(DISPLAY) else "inline"), MAX_DEPTH)
    except Exception:  # a parser that raises many kinds of errors, on text that anybody wrote
        return None


def _tree(element: Element, depth: int) -> list[Any]:
    if depth == 0:
        raise ValueError("too deep")
    name = element.tag if element.tag in ELEMENTS else "mrow"
    attributes = {
        key: value for key, value in element.attrib.items() if key in ATTRIBUTES and _VALUE.fullmatch(str(value))
    }
    text = html.unescape(element.text or "")  # the library writes characters as references
    children = [_tree(child, depth - 1) for child in element]
    return [name, attributes, *([text] if text else []), *children]
