"""The status of a run is told by its files, whatever became of its process."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.commands.status import duration
from deepscaler.runs import status
from deepscaler.runs.checkpoints import Checkpoint, sealed
from deepscaler.runs.fence import identity
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.status import STALE, read_status
from deepscaler.system.processes import process_start
from tests.deepscaler.runs.runs import add_attempt, learning, make_chain, make_run, seal_checkpoint

ENDED = {"ended": "2026-11-24T08:00:00+0000", "outcome": "stopped", "step": 4}


def set_heartbeat(run: RunFolder, age: float) -> None:
    attempt = run.attempts()[-1]
    attempt.heartbeat_path.write_text("7\n")
    for path in (attempt.heartbeat_path, attempt.record_path, attempt.root):
        os.utime(path, (time.time() - age,) * 2)


def shown(path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    assert main(["status", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_run_without_attempts_was_never_started(tmp_path: Path) -> None:
    status = read_status("8k", make_run(tmp_path))
    assert (status.state, status.step, status.num_steps, status.attempt) == ("never started", 0, 8, 0)


def test_a_fresh_heartbeat_means_running(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(4))
    set_heartbeat(run, age=STALE - 10)
    status = read_status("8k", run)
    assert (status.state, status.step, status.host) == ("running", 4, "node17")
    assert status.seconds_left == pytest.approx(4 * (100 + 40 / 4))


def test_an_attempt_that_has_just_begun_is_running_though_it_logged_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.attempt(1).root.mkdir(parents=True)
    status = read_status("8k", run)
    assert (status.state, status.step, status.reward, status.seconds_left) == ("running", 0, None, None)


def test_a_resumed_attempt_stands_where_it_resumed(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(6))
    add_attempt(run, [], resumed_step=4)
    status = read_status("8k", run)
    assert (status.step, status.attempt) == (4, 2)


def test_a_stale_heartbeat_without_an_end_means_dead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(4))
    seal_checkpoint(run.root, 4)
    set_heartbeat(run, age=600)
    assert read_status("8k", run).state == "dead"
    assert main(["status", str(tmp_path)]) == 0
    assert "without a sign of life for 10 min; the same command resumes from step 4" in capsys.readouterr().out


def test_a_command_that_was_killed_on_this_machine_is_dead_at_once(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(4))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = process_start(process.pid)
        run.attempts()[-1].update_record(**{**identity(), "pid": process.pid, "process_start": started})
        set_heartbeat(run, age=0)
        assert read_status("8k", run).state == "running"
        process.kill()
    assert read_status("8k", run).state == "dead"
    run.attempts()[-1].update_record(host="another machine")
    assert read_status("8k", run).state == "running", "of another machine only its heartbeat tells"


def test_an_end_is_told_by_its_outcome_even_if_the_heartbeat_is_fresh(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(3), **ENDED)
    set_heartbeat(run, age=0)
    status = read_status("8k", run)
    assert (status.state, status.step, status.seconds_left) == ("stopped", 4, None)


def test_a_wish_to_stop_is_shown_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(2))
    run.attempts()[-1].stop_path.write_text("SIGTERM\n")
    assert main(["status", str(tmp_path)]) == 0
    assert "8k, profile faithful: stopping (SIGTERM)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "shown"),
    [(b"f\xfcr", "f\N{REPLACEMENT CHARACTER}r"), (b"", "asked to"), (None, "asked to")],
    ids=["not UTF-8", "empty", "a folder"],
)
def test_a_request_to_stop_counts_whatever_it_holds(
    text: bytes | None, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(2))
    [attempt] = run.attempts()
    assert attempt.stop_reason == ""
    if text is None:
        attempt.stop_path.mkdir()
    else:
        attempt.stop_path.write_bytes(text)
    assert attempt.stop_reason == shown, "the trainer asks this in its loop, which an error would end"
    assert main(["status", str(tmp_path)]) == 0
    assert f"stopping ({shown})" in capsys.readouterr().out


def test_only_sealed_checkpoints_count_and_40_is_after_8(tmp_path: Path) -> None:
    run = make_run(tmp_path, num_steps=100)
    add_attempt(run, learning(41))
    seal_checkpoint(run.root, 8)
    seal_checkpoint(run.root, 40, age=120)
    (run.checkpoints / "global_step_80").mkdir()
    (run.checkpoints / "damaged-global_step_90-1").mkdir()
    status = read_status("8k", run)
    assert status.checkpoint_step == 40
    assert status.checkpoint_age == pytest.approx(120, abs=20)


def test_times_are_means_of_the_last_steps_and_accuracies_first_and_last(tmp_path: Path) -> None:
    run = make_run(tmp_path, num_steps=40)
    lines = learning(20)
    for step, data in lines[1:]:
        data["timing_s/step"] = 1000.0 if step <= 10 else 50.0 + step
    add_attempt(run, lines)
    status = read_status("8k", run)
    assert status.step_seconds == pytest.approx(65.5)
    assert status.validation is not None
    assert status.validation["aime"]["first_step"] == 0
    assert status.validation["aime"]["last_step"] == 20


def test_json_holds_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_attempt(make_run(tmp_path, profile="fast"), learning(4), **ENDED)
    status = shown(tmp_path, capsys)
    assert (status["name"], status["profile"], status["state"]) == ("8k", "fast", "stopped")
    assert main(["status", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert f"mean reward             {status['reward']:.3f}" in text
    assert "step                    4 of 8 (50 %)" in text
    assert "last checkpoint         none yet" in text


def test_off_policy_training_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {
        "rollout_corr/kl": 0.0123,
        "training/filter_groups/zero_variance_groups": 0.25,
        "training/filter_groups/discarded_tokens": 12_345,
        "training/off_policy/trajectory_staleness/mean": 1.5,
    }
    add_attempt(make_run(tmp_path), [(step, data | keys) for step, data in learning(4)], ended="now")
    status = read_status("8k", RunFolder(tmp_path))
    assert (status.mismatch, status.zero_variance) == (0.0123, 0.25)
    assert main(["status", str(tmp_path)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for line in (
        "rollout to trainer KL 0.012",
        "groups of one reward 25.0 %",
        "thrown away 12,345 tokens in the last step",
        "age of responses 1.5 updates",
    ):
        assert line in told


def test_a_chain_with_a_gate_says_how_each_stage_compares_with_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_chain(tmp_path)
    stored = json.loads((tmp_path / "chain.json").read_text())
    for options, told in (({"gate": False}, False), ({"gate": True}, True)):
        (tmp_path / "chain.json").write_text(json.dumps({**stored, "options": options}))
        assert main(["status", str(tmp_path)]) == 0
        assert ("8k is not worse: aime 30.0 -> 40.0 (+10.0 points" in capsys.readouterr().out) == told
    assert main(["status", str(tmp_path), "--json"]) == 0
    first, second, third = (stage["gate"] for stage in json.loads(capsys.readouterr().out)["stages"])
    assert first.startswith("not worse: ")
    assert second is third is None


def test_a_chain_has_a_row_for_every_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_chain(tmp_path)
    assert [stage["state"] for stage in shown(tmp_path, capsys)["stages"]] == ["finished", "running", "not begun"]
    assert main(["status", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["8k", "16k", "24k"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.json", "{"),
        ("run.json", '{"recipe": {"name": "8k"}}'),
        ("run.json", '{"recipe": {"name": "8k", "profile": "fast", "num_steps": 1, "max_response_length": "x"}}'),
        ("chain.json", '{"stages": "8k"}'),
        ("chain.json", "{}"),
        ("other", ""),
    ],
)
def test_a_folder_that_is_no_training_is_told_in_one_line(
    tmp_path: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(text)
    assert main(["status", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (4.2, "4.2 s"), (-3, "0.0 s"), (600, "10 min"), (18_720, "5 h 12 min"), (183_600, "2 d 3 h")],
)
def test_durations_have_the_unit_that_reads_best(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("seal", ["{", "{}", "[]", '{"step": "x"}'])
def test_a_damaged_seal_is_told_and_hides_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seal: str
) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(6), **ENDED)
    seal_checkpoint(tmp_path, 4)
    seal_checkpoint(tmp_path, 6)
    (run.checkpoints / "global_step_6/seal.json").write_text(seal)
    assert shown(tmp_path, capsys)["checkpoint_step"] == 4
    assert main(["status", str(tmp_path)]) == 0
    assert "damaged checkpoint      global_step_6: seal.json " in capsys.readouterr().out
    assert main(["merge", str(tmp_path), "--dry-run"]) == 0
    assert "global_step_4" in capsys.readouterr().out


def test_a_checkpoint_that_is_pruned_while_it_is_looked_at_has_no_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(6))
    seal_checkpoint(tmp_path, 4)

    def list_then_prune(run: RunFolder) -> list[Checkpoint]:
        found = sealed(run)
        shutil.rmtree(run.checkpoints / "global_step_4")
        return found

    monkeypatch.setattr(status, "sealed", list_then_prune)
    assert read_status("8k", run).checkpoint_age is None


@pytest.mark.parametrize("name", ["step", "resumed_step", "step_offset"])
@pytest.mark.parametrize("command", ["status", "report"])
def test_a_record_of_the_wrong_types_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(4))
    run.attempt(1).record_path.write_text(json.dumps({name: "x"}))
    assert main([command, str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"attempt.json is not a record of an attempt: {name} is 'x', expected an integer; mend it" in error
    assert error.count("\n") == 1


def test_a_plan_says_which_checkpoint_would_be_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seal_checkpoint(tmp_path, 4)
    (tmp_path / "checkpoints/global_step_6").mkdir()
    (tmp_path / "checkpoints/global_step_6/seal.json").write_text("{}")
    assert main(["train", "8k", "--output-dir", str(tmp_path), "--dry-run"]) == 0
    shown_plan = capsys.readouterr().out
    assert "would resume from step 4" in shown_plan
    assert "global_step_6 is damaged and would be set aside (seal.json holds no step)." in shown_plan


def test_what_tells_of_an_unhealthy_algorithm_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(2))
    values = {
        "rollout_corr/kl": 0.0123,
        "rollout_corr/rollout_is_ratio_fraction_high": 0.002,
        "actor/pg_clipfrac": 0.01,
        "actor/pg_clipfrac_high": 0.008,
        "actor/pg_clipfrac_low": 0.002,
        "actor/pg_clipfrac_lower": 0.003,
        "reward/grader/mean": 0.5,
        "reward/overlong/mean": -0.25,
        "reward/undecided/mean": 0.125,
        "training/filter_groups/zero_variance_groups": 0.25,
        "training/filter_groups/discarded_tokens": 12345,
        "training/off_policy/trajectory_staleness/mean": 1.5,
    }
    with run.attempts()[-1].metrics_path.open("a") as file:
        file.write(json.dumps({"step": 3, "data": values}) + "\n")
    assert main(["status", str(tmp_path)]) == 0
    lines = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if "  " in line)
    told = {label: value.strip() for label, value in lines.items()}
    assert told["PPO clipped"] == "1.0 %: 0.8 % at the upper bound, 0.2 % at the lower"
    assert told["parts of the reward"] == "grader 0.500, overlong -0.250"
    assert told["undecided"] == "12.5 %"
    assert told["dual clip"] == "0.3 %"
    assert told["rollout to trainer"] == "KL 0.012"
    assert told["weights cut"] == "0.2 %"
    assert told["groups of one reward"] == "25.0 %"
    assert told["thrown away"] == "12,345 tokens in the last step"
    assert told["age of responses"] == "1.5 updates"
    assert shown(tmp_path, capsys)["mismatch"] == 0.0123
    assert shown(tmp_path, capsys)["parts"] == {"grader": 0.5, "overlong": -0.25}


def test_files_that_others_write_hide_nothing_else_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(4))
    attempt = run.attempts()[-1]
    attempt.stop_path.write_bytes("es genügt".encode("latin-1"))
    (attempt.root / "memory").mkdir()
    (attempt.root / "memory/head1.jsonl").write_text('{"step": 1, "used": 1, "limit": 2, "roles": []}\n')
    assert main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "stopping (es gen\N{REPLACEMENT CHARACTER}gt)" in shown
    assert "mean reward" in shown
    assert "memory" not in shown
