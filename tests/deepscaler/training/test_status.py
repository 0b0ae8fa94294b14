"""The status of a run, told from its files alone."""

import json
import os
import time
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.files import write_json
from deepscaler.training.run_directory import RunDirectory
from deepscaler.training.status import STALE, Status, read_status
from tests.deepscaler.training.runs import add_attempt, learning, make_chain, make_run


def status_of(run: RunDirectory) -> Status:
    return read_status("8k", run)


def age(run: RunDirectory, seconds: float) -> None:
    """As if the last attempt had not written anything for so long."""
    attempt, then = run.attempts()[-1], time.time() - seconds
    for path in (attempt.record_path, attempt.heartbeat_path, attempt.root):
        if path.exists():
            os.utime(path, (then, then))


def test_before_anything_there_is_a_state_already(tmp_path: Path) -> None:
    assert status_of(RunDirectory(tmp_path)).state == "not begun"
    assert status_of(make_run(tmp_path)).state == "never started"


def test_an_attempt_runs_while_it_gives_signs_of_life(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(3))
    run.attempt(1).heartbeat_path.write_text("7\n")
    assert status_of(run).state == "running"
    age(run, STALE + 5)
    status = status_of(run)
    assert (status.state, status.seconds_left) == ("dead", None)
    assert status.heartbeat_age == pytest.approx(STALE + 5, abs=5)


def test_an_attempt_that_has_written_nothing_yet_is_running(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.attempt(1).root.mkdir(parents=True)
    assert (status_of(run).state, status_of(run).host) == ("running", None)


def test_a_wish_to_stop_is_shown_with_its_reason(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(3))
    run.attempt(1).stop_path.write_text("90 s are left\n")
    status = status_of(run)
    assert (status.state, status.stop_reason) == ("stopping", "90 s are left")


@pytest.mark.parametrize("outcome", ["finished", "stopped", "failed", "fenced"])
def test_an_attempt_that_has_ended_says_how(tmp_path: Path, outcome: str) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(3), ended="2026-11-24T08:00:00+0000", outcome=outcome, step=2)
    run.attempt(1).stop_path.write_text("SIGTERM")
    assert status_of(run).state == outcome


def test_the_last_attempt_is_the_one_that_counts(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(3), ended="x", outcome="failed", step=2)
    add_attempt(run, [], resumed_step=2, host="node18")
    status = status_of(run)
    assert (status.state, status.attempt, status.host, status.step) == ("running", 2, "node18", 2)


def test_the_time_left_counts_steps_and_validations(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(4))
    assert status_of(run).seconds_left == 4 * (100 + 40 / 4)


def test_the_newest_sealed_checkpoint_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(4))
    for step in (2, 10):
        seal = {"step": step, "verl_step": step, "world_size": 1, "files": {}}
        write_json(run.checkpoints / f"global_step_{step}" / "seal.json", seal)
    (run.checkpoints / "global_step_12").mkdir()
    status = status_of(run)
    assert status.checkpoint_step == 10
    assert 0 <= (status.checkpoint_age or -1) < 60


def test_the_command_shows_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_attempt(make_run(tmp_path), learning(4), host="node17\x1b[31m")
    assert main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("8k, profile faithful: running\n")
    assert "4 of 8 (50 %)" in shown
    assert "\x1b" not in shown


def test_the_command_shows_a_row_for_every_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(make_chain(tmp_path))]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[-3:]] == ["8k", "16k", "24k"]
    assert "not begun" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_command_prints_the_same_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain = make_chain(tmp_path)
    assert main(["status", "--json", str(chain)]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [stage["state"] for stage in stages] == ["finished", "running", "not begun"]
    assert main(["status", "--json", str(chain / "1-8k")]) == 0
    assert json.loads(capsys.readouterr().out)["validation"]["aime"]["last_step"] == 8


def test_a_folder_that_is_no_training_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert "holds neither chain.json nor run.json" in capsys.readouterr().err
