"""The page on troubleshooting quotes errors that the code can give."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.places import ROOT

PAGE = (ROOT / "docs/troubleshooting.md").read_text()
QUOTES = [quote for quote in re.findall(r"^\| `([^`]+)`", PAGE, re.MULTILINE) if "..." in quote]


def constants() -> Iterator[str]:
    """Yields every text of the code, with `\\0` where a value is put in."""
    for package in ("deepscaler", "evaluation", "slurm"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(str(p.value) if isinstance(p, ast.Constant) else "\0" for p in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


TEXTS = "\n".join(constants())


@pytest.mark.parametrize("quote", QUOTES)
def test_an_error_that_is_quoted_can_be_given(quote: str) -> None:
    pieces = [piece.strip(" .()") for piece in quote.split("...")]
    assert [piece for piece in pieces if piece not in TEXTS] == []


def test_there_are_quotes() -> None:
    assert len(QUOTES) > 8
