"""A reward worker that is killed in a training is replaced: the training goes on, and no step is made again."""

import os
import signal
from pathlib import Path

import pytest

from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import read_metrics
from tests.integration.processes import DEADLINE, deepscaler, started, wait_until, wait_until_gone

pytestmark = pytest.mark.slow

SMALL = ("train_batch_size=2", "mini_batch_size=2", "group_size=4", "max_response_length=8", "validate_every=100")
NUM_STEPS = 8


def processes_named(run: RunFolder, begin: str) -> list[int]:
    """Returns the run's processes whose command begins so."""
    wanted, found = f"DEEPSCALER_RUN_DIR={run.root}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = wanted in (folder / "environ").read_bytes().split(b"\0")
            if is_ours and (folder / "cmdline").read_bytes().startswith(begin.encode()):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.usefixtures("training")
def test_a_reward_worker_that_dies_is_replaced(tiny_model: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    settings = [word for one in (*SMALL, f"model={tiny_model}", f"num_steps={NUM_STEPS}") for word in ("--set", one)]
    command = deepscaler("train", "quickstart", "--device", "cpu", "--output-dir", run.root, *settings)
    with started(command) as process:
        wait_until(lambda: run.is_run and max(read_metrics(run), default=0) >= 2, process, "the second step")
        killed = processes_named(run, "ray::RewardLoopWorker")
        assert killed
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        output = process.communicate(timeout=DEADLINE)[0]
    assert process.returncode == 0, output
    assert len(run.attempts()) == 1
    steps = [step for step, values in read_metrics(run).items() if "timing_s/step" in values]
    assert steps == [*range(1, NUM_STEPS + 1)]
    assert not set(killed) & set(processes_named(run, "ray::"))
    wait_until_gone(run.root, 120)
