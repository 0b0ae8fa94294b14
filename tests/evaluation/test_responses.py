"""A JSON Lines file of responses is read line by line, and a line that cannot be graded is named."""

from pathlib import Path

import pytest

from deepscaler.system.errors import UserError
from evaluation.responses import Columns, grade_file


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text('{"response": "so\u2028\x85 \\\\boxed{4}", "gold": "4"}\n', encoding="utf-8-sig")  # with a mark
    (scored,) = grade_file(file, Columns(), thinking=False, mode="kit")
    assert scored.grade.correct


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n\nnonsense\n", "line 3 is not a JSON object"),
        pytest.param("[" * 100_000, r"line 1 is not a JSON object \(it is nested too deeply\)", id="deep"),
    ],
)
def test_a_line_is_named_by_its_number_in_the_file(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        grade_file(file, Columns(), thinking=False, mode="kit")


def test_a_missing_file_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl: No such file or directory; give") as raised:
        grade_file(tmp_path / "none.jsonl", Columns(), thinking=False, mode="kit")
    assert "Errno" not in str(raised.value)
