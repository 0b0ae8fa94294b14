"""Writes the page: one HTML file with its own script and style, and its data as JSON that no text can break out of.

The page can run only this script and load nothing, because its policy names the script and the style by their hashes.
"""

import base64
import hashlib
from importlib import resources
from string import Template
from typing import Any

from deepscaler import __version__
from deepscaler.view.formulas import FORMULA, trees
from deepscaler.view.source import VERDICTS, Source, as_json

SCRIPTS = ("data.js", "texts.js", "list.js", "detail.js", "charts.js", "main.js")
"""Parts of the script, in order; each part uses the ones before it."""

MAX_FORMULAS = 20_000
"""Most different formulas that a page with all texts shows as mathematics; the others stay LaTeX."""


def static_page(sources: list[Source]) -> str:
    """Returns a page that contains everything it needs."""
    details = [list(source.all_details()) for source in sources]
    texts = [part for source in sources for part in _problem_texts(source)]
    for rows in details:
        for one in rows:
            texts += [one["text"].rpartition("</think>")[2], as_formula(one["answer"] or "")]
    texts += [one["text"] for rows in details for one in rows]  # thinking comes last: the page folds it
    return _page(sources, {"details": details, "formulas": trees(texts, MAX_FORMULAS)}, "'none'")


def served_page(sources: list[Source], version: str) -> str:
    """Returns a page that requests each text from its server when a user opens it."""
    return _page(sources, {"version": version}, "'self'")


def details_with_formulas(source: Source, number: int, at_most: int) -> dict[str, Any]:
    """Returns one response with the formulas in its text, its problem and its golds."""
    row, found = source.rows[number], source.details(number)
    problem = source.problems[row.problem]
    texts = [problem["text"], *map(as_formula, [*problem["golds"], row.answer or ""]), found["text"]]
    return {**found, "formulas": trees(texts, at_most)}


def policy(script: str, style: str, connect: str) -> str:
    """Returns a Content-Security-Policy that allows only this script and this style."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; connect-src {connect};"
        " base-uri 'none'; form-action 'none'"
    )


def as_formula(text: str) -> str:
    """Returns an answer as an inline formula."""
    return f"\\({text}\\)"


def _problem_texts(source: Source) -> list[str]:
    return [text for one in source.problems for text in (one["text"], *map(as_formula, one["golds"]))]


def _page(sources: list[Source], more: dict[str, Any], connect: str) -> str:
    script = "\n".join(_resource(name) for name in SCRIPTS)
    style = _resource("page.css")
    data = {
        "sources": [source.to_json() for source in sources],
        "verdicts": VERDICTS,
        "formula": FORMULA,
        "kit": __version__,
        **more,
    }
    # One pass: a dollar in what is put in is not looked at again.
    return Template(_resource("page.html")).substitute(
        policy=policy(script, style, connect), style=style, script=script, data=_harmless(as_json(data))
    )


def _harmless(text: str) -> str:
    """Returns JSON that cannot end an element or begin a comment, whatever it holds."""
    # `</script>` would end the element, and `<!--` changes how browsers parse it. Neither is valid in JSON outside of a
    # string, where an escape means the same.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def _resource(name: str) -> str:
    return resources.files("deepscaler.view").joinpath(name).read_text(encoding="utf-8")
