"""A node's start is what srun runs, with a signal at a moment at which SLURM may send one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from submitit.core.utils import DelayedSubmission

from deepscaler.system.processes import python_command
from slurm.job_folder import JobFolder
from slurm.node.task import NodeTask

VARIABLES = {
    "SUBMITIT_EXECUTOR": "slurm",
    "SLURM_JOB_ID": "8",
    "SLURM_JOB_NODELIST": "n1",
    "SLURM_JOB_NUM_NODES": "1",
    "SLURM_NTASKS": "1",
    "SLURM_NODEID": "0",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURMD_NODENAME": "n1",
}


def wait_until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_that_comes_while_python_starts_is_heard_and_another_start_follows(
    number: signal.Signals, tmp_path: Path
) -> None:
    command = python_command("-u", "-m", "slurm.node.begin", str(tmp_path))
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **VARIABLES, "SLURM_CPUS_ON_NODE": "1"}, stdout=output, stderr=output
        )
    try:
        # submitit waits for this file: here everything has been imported, and no handler is there yet
        wait_until(lambda: "Loading pickle" in log.read_text(), "submitit has begun")
        process.send_signal(number)
        never = (sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')")
        task = NodeTask(command=never, folder=str(tmp_path / "job"), output=str(tmp_path), num_gpus=0, ray=False)
        DelayedSubmission(task).dump(tmp_path / "8_submitted.pkl")
        assert process.wait(60) == 75, log.read_text()
    finally:
        process.kill()
    folder = JobFolder(tmp_path / "job")
    record = json.loads(folder.attempt(0).record_path.read_text())
    assert record["reason"] == f"{number.name} came before the command began"
    assert record["again"]
    assert folder.again_path.exists()
    assert not (tmp_path / "ran").exists()
