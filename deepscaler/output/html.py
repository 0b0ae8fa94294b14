"""Builds HTML pages with one style, and tables in which every string from a model or a user is only text.

A page is one file that runs no script and loads nothing.
"""

import json
from html import escape as escape_markup
from importlib import resources
from string import Template
from typing import Any
from unicodedata import category

FRAME = "deepscaler.output"
"""The package that holds the frame and the style of all pages."""

MAX_SHOWN = 4000
"""Most characters of a response that a page shows; beyond that it omits the middle."""


def fill(package: str, /, *, title: str, **parts: str) -> str:
    """Returns a page: a package's `report.html` filled with its parts, inside the common frame and style.

    The title and the parts are HTML; `report.html` may use the title, too.
    """
    # Values are not scanned again, so a `$` in a response stays one.
    body = Template(_resource(package, "report.html")).substitute(parts, title=title)
    return Template(_resource(FRAME, "page.html")).substitute(
        title=title, style=_resource(FRAME, "page.css"), body=body
    )


def _resource(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def table(rows: list[list[str]], kind: str) -> str:
    """Returns rows of plain cells, header first, as an HTML table; `kind` is its CSS class."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    cells = [[escape(cell).replace("\n", "<br>") for cell in row] for row in rows[1:]]
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in cells)
    return f'<div class="scroll {kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def definitions(values: dict[str, Any]) -> str:
    """Returns nested JSON as an HTML table of names and values."""
    cells = {name: definitions(v) if isinstance(v, dict) and v else escape(_plain(v)) for name, v in values.items()}
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{cell}</td></tr>" for name, cell in cells.items())
    return f'<table class="nested">{rows}</table>'


def escape(text: str) -> str:
    """Returns a text that is safe in HTML: no markup, no control characters, no lone surrogates."""
    # The zero-width joiner (\u200d) joins letters of some scripts and emoji; isprintable() is False for it and for all
    # spaces but the plain one.
    shown = (c if c.isprintable() or c in "\n\t\u200d" or category(c) == "Zs" else "\ufffd" for c in text)
    return escape_markup("".join(shown))


def excerpt(text: str) -> str:
    """Returns a text as HTML, without the middle of a long one."""
    if len(text) <= MAX_SHOWN:
        return escape(text)
    half = MAX_SHOWN // 2
    return escape(f"{text[:half]}\n\n[... {len(text) - MAX_SHOWN:,} characters omitted ...]\n\n{text[-half:]}")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
