"""`deepscaler grade` reads any JSON Lines file whose columns it is told, and prints what `report` prints."""

import json
from pathlib import Path

import pytest

from deepscaler.cli import main


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_file_of_responses_is_graded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(
        tmp_path / "rollouts.jsonl",
        {"uid": 1, "output": r"<think>hm</think> \boxed{4}", "gts": 4},
        {"uid": 1, "output": r"<think>hm</think> \boxed{5}", "gts": 4},
        {"uid": 2, "output": r"<think>hm</think> 1/2", "gts": ["0.5", "1/2"]},
        {"uid": 2, "output": r"<think>hm", "gts": ["0.5", "1/2"]},
    )
    output = tmp_path / "graded.jsonl"
    words = ["grade", str(file), "--response", "output", "--gold", "gts", "--id", "uid", "--output", str(output)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "25.0" in shown
    assert "no box" in shown
    verdicts = [json.loads(line) for line in output.read_text().splitlines()]
    assert [verdict["reason"] for verdict in verdicts] == ["correct", "wrong", "no_box", "no_think_end"]


def test_the_default_columns_and_models_that_do_not_think(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "r.jsonl", {"response": r"\boxed{\frac12}", "gold": "0.5"})
    assert main(["grade", str(file), "--thinking", "no"]) == 0
    assert "100.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("nonsense", "line 1 is not a JSON object"),
        ('{"text": "a", "gold": "4"}', "has no 'response' but 'text', 'gold'; name it with --response COLUMN"),
        ('{"response": 4, "gold": "4"}', "'response' is not a text"),
    ],
)
def test_a_file_that_cannot_be_graded_is_named_with_its_line(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text(content, encoding="utf-8")
    assert main(["grade", str(file)]) == 2
    assert message in capsys.readouterr().err
