"""Whatever stops, dies or never answers in a real training is named in time, with its stacks, and steps go on.

The table is that of bench/faults.py, which prints when each was noticed and when there were steps again.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.faults import BOUND, FAULTS, NOTICED, PATIENCE, WENT_ON, Training, disk_that_freezes, inflict, wait_for_steps
from deepscaler.runs.beats import stalls_folder
from deepscaler.runs.metrics import read_lines
from deepscaler.runs.phases import read_moment
from deepscaler.runs.rules import STALLED
from tests.integration.logged import wandb_alerts
from tests.integration.processes import deepscaler, free_port, run, started, wait_until_gone
from tests.integration.prometheus import Prometheus

pytestmark = pytest.mark.usefixtures("training")

TELLING = "stop reward worker"


@pytest.fixture
def training(training: None, tiny_model: Path, tmp_path: Path) -> Iterator[Training]:
    one = Training(tmp_path, tiny_model)
    yield one
    one.end()
    wait_until_gone(one.run.root, 120)


def is_named_and_overcome(training: Training, fault: str) -> None:
    strike, said = FAULTS[fault]
    result = inflict(training, strike)
    print(f"\n{fault}: {result}")
    assert re.search(said, result.named), result
    assert result.noticed < NOTICED or result.named == WENT_ON, result


@pytest.mark.slow
def test_a_stopped_process_is_named_with_the_stacks_of_all_and_the_training_resumes(training: Training) -> None:
    is_named_and_overcome(training, TELLING)
    attempt = training.run.attempts()[0]
    record, folder = attempt.read_record(), stalls_folder(attempt) / "1"
    assert record["outcome"] == "cut short"
    assert record["why"] == (folder / "sentence.txt").read_text().strip()
    seen = json.loads((folder / os.uname().nodename / "processes.json").read_text())
    assert [one["name"] for one in seen if one["state"] == "T"] == ["ray::RewardLoopWorker"]
    named = {one["name"] for one in seen if one["stack"]}
    assert {"ray::TaskRunnerV1", "ray::WorkerDict", "ray::RolloutServer", "ray::RewardLoopWorker"} <= named
    states = json.loads((folder / "ray.json").read_text())
    assert any(one["className"] == "RolloutServer" for one in states["actors"])
    assert any("_watch" in path.read_text() for path in (folder / "own").iterdir()), "the trainer wrote its own stack"
    status = json.loads(run(deepscaler("status", training.run.root, "--json")).stdout)
    assert status["phase"]


@pytest.mark.slow
@pytest.mark.parametrize("on_stall", ["report", pytest.param("restart", marks=pytest.mark.long)])
def test_a_stall_is_alerted_by_a_real_prometheus_and_by_wandb(
    on_stall: str, training: Training, prometheus: str, tmp_path: Path
) -> None:
    """With a restart, Prometheus may see the count alone, and the next attempt tells W&B what the last one cannot."""
    training.on_stall, training.options = on_stall, ("--wandb", "offline")
    training.run.root.mkdir()
    port = free_port()
    server = Prometheus(prometheus, tmp_path, port)
    with started(deepscaler("metrics", training.run.root, "--port", port)), started(server.command):
        is_named_and_overcome(training, "stop trainer")
        assert STALLED in server.wait_for([STALLED])
    sentence = (stalls_folder(training.run.attempts()[0]) / "1/sentence.txt").read_text().strip()
    deadline = time.monotonic() + PATIENCE  # W&B writes its file in blocks, which some more steps fill
    while wandb_alerts(training.run.root).get(STALLED) != sentence:
        assert time.monotonic() < deadline
        time.sleep(1)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in (TELLING, "file system blocked")])
def test_a_fault_is_named_and_overcome(fault: str, training: Training) -> None:
    is_named_and_overcome(training, fault)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to freeze a file system")
def test_a_file_system_that_hangs_is_named_and_waited_for(tiny_model: Path, tmp_path: Path) -> None:
    with disk_that_freezes(tmp_path) as disk:
        one = Training(tmp_path, tiny_model, disk / "run")
        try:
            is_named_and_overcome(one, "file system blocked")
            assert len(one.run.attempts()) == 1, "nobody restarted what goes on by itself"
        finally:
            one.end()


SLOW = """
import time
from pathlib import Path

def score(response):
    time.sleep(0.3)
    while Path("{folder}/hang-reward").exists():
        time.sleep(0.2)
    return 0.0
"""


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_slow_first_step_and_a_validation_of_ten_steps_alarm_nobody(training: Training) -> None:
    """A phase that was never seen may stall for longer than the bound, and one that makes progress is never bounded."""
    recipe, flags = training.folder / "faults.toml", [training.folder / name for name in ("hang-reward", "lose-prompt")]
    validating = "validate_every = 3\nvalidation_group_size = 8"
    recipe.write_text(recipe.read_text().replace("validate_every = 100000", validating))
    (training.folder / "never.py").write_text(SLOW.format(folder=training.folder))
    flags[0].touch()
    wait_for_phase(training, "validate")
    time.sleep(2 * BOUND)
    flags[1].touch()  # holds the first step, for the validation's prompts have passed it
    flags[0].unlink()
    wait_for_phase(training, "generate")
    time.sleep(2 * BOUND)
    flags[1].unlink()
    wait_for_steps(training, 8)
    lengths = [values for _, values in read_lines(training.attempt.metrics_path) if "timing_s/testing" in values]
    print([(round(one["timing_s/testing"], 1), round(one["timing_s/step"], 1)) for one in lengths])
    assert max(one["timing_s/testing"] / one["timing_s/step"] for one in lengths) > 10
    assert not list(training.run.root.glob("attempts/*/stalls/*"))
    assert "STALLED" not in training.output.read_text()


def wait_for_phase(training: Training, phase: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (training.run.root / "attempts").is_dir() or read_moment(training.attempt).phase != phase:
        training.keep_running()
        assert time.monotonic() < deadline, training.output.read_text()
        time.sleep(0.2)
