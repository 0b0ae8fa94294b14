"""Each decision of the index is explained in the file that it links to."""

import re
from pathlib import Path

import pytest

from tests.places import ROOT

TEXT = (ROOT / "docs/decisions.md").read_text()
LINES = [line for line in TEXT.splitlines() if line.startswith("- ")]


@pytest.mark.parametrize("line", LINES)
def test_the_file_gives_the_reason(line: str) -> None:
    match = re.fullmatch(r"- .+: \[`(\S+)`\]\(\.\./(\S+)\), \"([^\"]+)\"", line)
    assert match, '- DECISION: [`FILE`](../FILE), "WORDS of the reason"'
    assert match[1] == match[2]
    file = (ROOT / match[2]).read_text(encoding="utf-8")
    comments = " ".join(re.sub(r"^\s*#", "", text) for text in file.splitlines())
    assert match[3] in " ".join(comments.split())


def test_every_file_is_named_once_for_a_reason() -> None:
    assert len(set(LINES)) == len(LINES) > 40
    assert Path(ROOT / "CONTRIBUTING.md").read_text().count("docs/decisions.md") > 0
