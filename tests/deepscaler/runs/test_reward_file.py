"""A run calls its own copy of a reward file, whatever becomes of the file."""

import json
from pathlib import Path

import pytest

from deepscaler.runs.folder import RunFolder
from deepscaler.runs.reward_file import (
    called_file,
    check_called,
    copied_function,
    edited_note,
    keep_copy,
    submit_copy,
)
from deepscaler.system.errors import UserError

GOOD = "def score(response): return 1.0\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "home/my.py"
    file.parent.mkdir()
    file.write_text(GOOD)
    return file


def begun(run: RunFolder, function: str) -> None:
    run.root.mkdir(exist_ok=True)
    run.manifest_path.write_text(json.dumps({"recipe": {}, "reward": keep_copy(run, function)}))


def test_a_run_calls_its_copy_once_it_has_one(source: Path, tmp_path: Path) -> None:
    run, function = RunFolder(tmp_path / "run"), f"{source}:score"
    assert called_file(run, function) == (source, "score")
    assert not run.root.exists()
    begun(run, function)
    copy = run.root / "reward/my.py"
    assert called_file(run, function) == (copy, "score")
    assert copied_function(run.root, function) == f"{copy}:score"
    assert edited_note(run, function) == ""
    source.write_text("broken(")
    check_called(run, function)
    assert edited_note(run, function) == f"{source} was edited since; this run continues with its own copy, {copy}"
    assert copy.read_text() == GOOD
    source.unlink()
    check_called(run, function)
    check_called(run, "/on/another/machine/my.py:score")
    assert edited_note(run, function) == ""


@pytest.mark.parametrize("other", ["my.py:other", "your.py:score"])
def test_another_function_is_another_run(source: Path, tmp_path: Path, other: str) -> None:
    run = RunFolder(tmp_path / "run")
    begun(run, f"{source}:score")
    with pytest.raises(UserError, match=r"holds another run \(reward.function: my.py:score -> "):
        check_called(run, str(source.with_name(other)))


def test_a_damaged_copy_is_refused(source: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    begun(run, f"{source}:score")
    (run.root / "reward/my.py").write_text(GOOD + "# edited\n")
    with pytest.raises(UserError, match="is not the file that the run was begun with"):
        check_called(run, f"{source}:score")
    (run.root / "reward/my.py").unlink()
    with pytest.raises(UserError, match="is not the file that the run was begun with"):
        check_called(run, f"{source}:score")


def test_a_submission_renews_what_an_earlier_one_left_until_the_run_has_begun(source: Path, tmp_path: Path) -> None:
    run, function = RunFolder(tmp_path / "run"), f"{source}:score"
    submit_copy(run, function)
    source.write_text(GOOD + "# better\n")
    submit_copy(run, function)
    assert called_file(run, function)[0].read_text() == GOOD + "# better\n"
    source.rename(source.with_name("moved.py"))
    submit_copy(run, function)
    assert called_file(run, function)[0].read_text() == GOOD + "# better\n"
    begun(run, function)
    source.write_text(GOOD)
    submit_copy(run, function)
    assert called_file(run, function)[0].read_text() == GOOD + "# better\n"
    with pytest.raises(UserError, match="unknown function 'scor'"):
        submit_copy(RunFolder(tmp_path / "other"), f"{source}:scor")
    assert not (tmp_path / "other").exists()
