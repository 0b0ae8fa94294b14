"""The parts of the reward are read by step, of all processes and attempts, beside verl's metrics."""

import json
import time
from pathlib import Path

import pytest

from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import parts, read_metrics
from deepscaler.runs.rewards import QUIET, RewardLog

RECIPE = {"max_response_length": 100}


def begun(root: Path, *, offset: int = 0) -> RunFolder:
    run = RunFolder(root)
    run.attempt(1).root.mkdir(parents=True)
    run.manifest_path.write_text(json.dumps({"recipe": RECIPE}))
    run.attempt(1).update_record(step_offset=offset)
    return run


def log_steps(run: RunFolder, *steps: int) -> None:
    lines = [{"step": step, "data": {"critic/score/mean": 0.5}} for step in steps]
    validated = {"step": 0, "data": {"val-core/aime/acc/mean@8": 0.1}}
    text = "".join(f"{json.dumps(line)}\n" for line in [validated, *lines])
    run.attempt(1).metrics_path.write_text(text)


def test_means_are_of_all_processes_and_of_training_alone(tmp_path: Path) -> None:
    run = begun(tmp_path, offset=10)
    log_steps(run, 1, 2)
    for process, verdicts in (("a", [1.0, 0.0]), ("b", [0.0, 0.0])):
        log = RewardLog(run.attempt(1).rewards / f"{process}.jsonl")
        for verdict in verdicts:
            log.add(1, "deepscaler", {"grader": verdict, "overlong": -0.5})
        log.add(1, "aime", {"grader": 1.0, "overlong": 0.0})
        log.add(2, "deepscaler", {"grader": 1.0, "overlong": 0.0})
        log.write()
    found = read_metrics(run)
    assert parts(found) == {"grader": [(11, 0.25), (12, 1.0)], "overlong": [(11, -0.5), (12, 0.0)]}
    assert found[11]["critic/score/mean"] == 0.5


def test_a_set_that_is_also_validated_is_read_where_there_is_no_other(tmp_path: Path) -> None:
    run = begun(tmp_path)
    log_steps(run, 1)
    log = RewardLog(run.attempt(1).rewards / "a.jsonl")
    log.add(1, "aime", {"format": 1.0})
    log.write()
    assert parts(read_metrics(run)) == {"format": [(1, 1.0)]}


def test_a_torn_line_and_a_foreign_one_cost_themselves_alone(tmp_path: Path) -> None:
    run = begun(tmp_path)
    log_steps(run, 1)
    path = run.attempt(1).rewards / "a.jsonl"
    log = RewardLog(path)
    log.add(1, "deepscaler", {"format": 1.0})
    log.write()
    path.write_text("[]\n{}\nx\n" + path.read_text() + '{"step": 1, "data_source": "deepsc')
    assert parts(read_metrics(run)) == {"format": [(1, 1.0)]}


def test_sums_are_written_by_themselves_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(tmp_path)
    monkeypatch.setenv("DEEPSCALER_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("DEEPSCALER_ATTEMPT", "1")
    log = RewardLog.of_this_process()
    for _ in range(1000):
        log.add(3, "deepscaler", {"grader": 0.5})
    deadline = time.monotonic() + 20 * QUIET
    while not list(run.attempt(1).rewards.glob("*.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    [path] = run.attempt(1).rewards.glob("*.jsonl")
    assert json.loads(path.read_text()) == {
        "step": 3, "data_source": "deepscaler", "count": 1000, "sums": {"grader": 500.0}
    }  # fmt: skip
    monkeypatch.delenv("DEEPSCALER_RUN_DIR")
    RewardLog.of_this_process().add(1, "deepscaler", {"grader": 1.0})
