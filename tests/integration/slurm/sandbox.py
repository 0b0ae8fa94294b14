"""A real SLURM cluster of virtual nodes: the script beside the checkout stands it up."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest

from deepscaler.job import Job
from slurm.job_folder import JobAttempt, JobFolder, new_folder
from slurm.jobs import record, submitting
from slurm.site import Site
from slurm.submit.script import Submission, node_task
from tests.places import SHARED

SCRIPT = SHARED / "slurm-sandbox"
STATE = Path(os.environ.get("SLURM_SANDBOX_STATE", "/var/tmp/slurm-sandbox"))
NAME, NETWORK, PORT = os.environ.get("SLURM_SANDBOX", "sbx 10.77.0 6817").split()
"""Other ones let two sets of tests run beside each other on one machine."""
NUM_NODES = 4
NUM_GPUS = 8
T = TypeVar("T")
DEADLINE = 600.0
"""Seconds for whatever a test waits for."""

SITE = Site(
    partition="gpu",
    account="research",
    time_limit="00:30:00",
    exclusive=False,
    mem="8G",
    scratch="/tmp/ray",
    object_store_gb=0.1,
    join_minutes=5,
    warning_seconds=30,
)


def sandbox(*arguments: str, check: bool = True, seconds: float = 600) -> str:
    """Any command of the script; skips where it is not there."""
    if not SCRIPT.is_file():
        pytest.skip(f"needs the SLURM cluster that {SCRIPT} stands up")
    if os.geteuid() != 0:
        pytest.skip("needs root, to stand a SLURM cluster up")
    done = subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, timeout=seconds, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def on_node(node: str, *command: str, check: bool = True) -> str:
    """Run something inside a virtual node."""
    return sandbox("exec", node, *command, check=check)


def ask(*command: str) -> str:
    """Output of one of SLURM's commands."""
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout.strip()


def state_of(job_id: str) -> str:
    """A job's state as the controller has it; accounting is told later."""
    return ask("scontrol", "--oneliner", "show", "job", job_id).partition("JobState=")[2].partition(" ")[0]


@contextmanager
def configured(name: str, value: str) -> Iterator[None]:
    """Another line in slurm.conf for a while."""
    file = STATE / "etc/slurm.conf"
    before = file.read_text()

    def reconfigure(text: str) -> None:
        file.write_text(text)
        ask("scontrol", "reconfigure")

    reconfigure(re.sub(f"^{name}=.*\n", f"{name}={value}\n" if value else "", before, flags=re.MULTILINE))
    try:
        yield
    finally:
        reconfigure(before)


@contextmanager
def controller_stopped() -> Iterator[None]:
    """Has SLURM's controller answer nobody for a while."""
    pid = int((STATE / "run/slurmctld.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def slow_python(folder: Path, seconds: float) -> str:
    """Returns an interpreter that takes its time before it starts, and that a signal kills meanwhile."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nsleep {seconds}\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


def wait_until(holds: Callable[[], T], what: str | Callable[[], str], seconds: float = DEADLINE) -> T:
    """Poll; returns what held."""
    deadline = time.monotonic() + seconds
    while not (value := holds()):
        if time.monotonic() > deadline:
            pytest.fail(f"not after {seconds:.0f} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.1)
    return value


@dataclass(frozen=True)
class Run:
    """A job of the test's driver on the cluster."""

    root: Path
    job_id: str
    folder: Path

    @property
    def steps(self) -> list[int]:
        """What the driver has on disk."""
        path = self.root / "samples/steps.jsonl"
        return [json.loads(line)["step"] for line in path.read_text().split("\n")[:-1]] if path.is_file() else []

    @property
    def state(self) -> str:
        """SLURM's."""
        return state_of(self.job_id)

    @property
    def nodes(self) -> list[str]:
        """Of the allocation, the head first."""
        return ask("scontrol", "show", "hostnames", ask("squeue", "-h", "-j", self.job_id, "-o", "%N")).split()

    def attempt(self, number: int) -> JobAttempt:
        """One start."""
        return JobFolder(self.folder).attempt(number)

    def record(self, number: int) -> dict[str, object]:
        """How a start ended."""
        attempt = self.attempt(number)
        return attempt.read(attempt.record_path)

    def wait_for_steps(self, number: int) -> None:
        """Until so many are done."""
        wait_until(lambda: len(self.steps) >= number, lambda: f"step {number}, but {self.steps}: {self.logs()}")

    def wait_for_state(self, *states: str, seconds: float = DEADLINE) -> str:
        """Until SLURM tells one of these."""
        told = lambda: f"{states}, but {self.state}: {self.logs()}"  # noqa: E731
        return wait_until(lambda: self.state if self.state in states else "", told, seconds)

    def logs(self) -> str:
        """Everything the nodes said."""
        return "\n".join(
            f"{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in self.root.rglob("*.log")
        )


def start_driver(root: Path, driver: list[str], num_nodes: int, site: Site = SITE) -> Run:
    """Submit the driver as a job with Ray."""
    job = Job(name="driver", arguments=(), num_nodes=num_nodes, gpus_per_node=NUM_GPUS, ray=True)
    folder = new_folder(root, job.name)
    task = replace(node_task(job, site, folder, root), command=tuple(driver))
    with submitting(root) as jobs:
        job_id = Submission(job=job, tasks=(task,), site=site, run_folder=root, folder=folder).submit()
        record(root, jobs, job_id, folder)
    return Run(root, job_id, folder)


def left_on(nodes: list[str]) -> list[str]:
    """Ray's and the kit's processes, and Ray's folders, on some nodes."""
    found = []
    for node in nodes:
        text = on_node(node, "ps", "-ww", "-eo", "args", check=False)
        words = (
            "raylet",
            "gcs_server",
            "slurm.node",
            "after_joining",
            "sleep infinity",
            "ray start",
            "driver.py",
            "submitit",
            "system.processes",
        )
        found += [f"{node}: {line[:100]}" for line in text.splitlines() if any(word in line for word in words)]
        found += [f"{node}: {path}" for path in on_node(node, "ls", "/tmp/ray", check=False).split()]
    return found


def wait_until_clean(run: Run, nodes: list[str], seconds: float) -> float:
    """Until no process is left and no GPU allocated; returns the seconds it took."""
    started = time.monotonic()
    wait_until(lambda: not left_on(nodes), lambda: f"no process, but {left_on(nodes)}", seconds)
    wait_until(lambda: not allocated_gpus(), lambda: f"no GPU allocated, but {allocated_gpus()}", seconds)
    assert not run.attempt(0).token_path.exists()
    return time.monotonic() - started


def allocated_gpus() -> list[str]:
    """Nodes that SLURM has given GPUs of to somebody."""
    lines = ask("scontrol", "--oneliner", "show", "node").splitlines()
    return [line.split()[0] for line in lines if "gres/gpu=" in line.partition("AllocTRES=")[2]]
