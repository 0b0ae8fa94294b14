"""What a folder is, how far it is and what is at work in it is told in one place, for every kind of folder."""

from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.outputs import find_kind, is_training, kind_of, progress, unfinished_attempts
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_json
from tests.deepscaler.runs.runs import make_chain, make_run, seal_checkpoint

SAMPLES = (
    *("samples", "shards/0-of-2/samples"),
    *("0-base/evaluation/samples", "1-8k/evaluation/samples", "1-8k/evaluation/shards/0-of-2/samples"),
)


def test_a_folder_is_known_by_the_file_that_its_command_writes(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    make_chain(tmp_path / "chain")
    write_json(tmp_path / "evaluation/config.json", {})
    (tmp_path / "other").mkdir()
    names = ("run", "chain", "evaluation", "other", "nowhere")
    assert [find_kind(tmp_path / name) for name in names] == ["run", "chain", "evaluation", None, None]
    assert [is_training(tmp_path / name) for name in names] == [True, True, False, False, False]
    with pytest.raises(UserError, match=r"other is not a folder of .* holds no config\.json, run\.json or chain\.json"):
        kind_of(tmp_path / "other")


def test_a_report_on_a_folder_of_another_kind_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "it holds no config.json, run.json or chain.json" in capsys.readouterr().err
    make_run(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(tmp_path), "--grader", "deepscaler"])
    assert "counts only for an evaluation" in capsys.readouterr().err


@pytest.mark.parametrize("part", SAMPLES)
def test_samples_on_disk_are_progress_wherever_they_lie(part: str, tmp_path: Path) -> None:
    assert progress(tmp_path) == 0
    (tmp_path / part).mkdir(parents=True)
    (tmp_path / part / "aime.jsonl").write_text("x" * 7)
    assert progress(tmp_path) == 7


def test_steps_are_progress_in_a_run_and_in_every_stage(tmp_path: Path) -> None:
    seal_checkpoint(tmp_path / "run", 40)
    seal_checkpoint(tmp_path / "run", 20)
    assert progress(tmp_path / "run") == 40
    seal_checkpoint(tmp_path / "chain/1-8k", 8)
    seal_checkpoint(tmp_path / "chain/2-16k", 4)
    assert progress(tmp_path / "chain") == 12


def test_attempts_at_work_are_found_in_every_stage_before_anything_else_is_written(tmp_path: Path) -> None:
    for name, record in (("1-8k", {"ended": "before"}), ("2-16k", {"host": "node17"})):
        attempt = RunFolder(tmp_path / name).attempt(1)
        attempt.root.mkdir(parents=True)
        attempt.update_record(**record)
    assert [one.root for one in unfinished_attempts(tmp_path)] == [tmp_path / "2-16k/attempts/0001"]
    assert unfinished_attempts(tmp_path / "nowhere") == []
