"""On two nodes the network fails, one way or both, or a process stops: it is named, and the job comes back."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.faults import RECIPE, REWARD
from deepscaler.runs.beats import read_beats
from deepscaler.runs.folder import RunFolder
from slurm.jobs import read_jobs
from tests.integration.processes import deepscaler, run
from tests.integration.slurm.sandbox import Run, ask, on_node, wait_until
from tests.integration.slurm.test_commands import SITE_FILE

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500), pytest.mark.usefixtures("idle", "training")]

BOUND = 20.0
NOTICED = BOUND + 60.0
START = 900.0
"""Seconds for a training on two nodes of a busy machine to make a step."""


@pytest.fixture
def started(tiny_model: Path, tmp_path: Path) -> Run:
    """Returns a training on two nodes that has made steps, under the launcher's defaults but for the bound."""
    root, site = RunFolder(tmp_path / "run"), tmp_path / "site.toml"
    site.write_text(SITE_FILE)
    (tmp_path / "faults.toml").write_text(
        f"num_nodes = 2\n{RECIPE.format(model=tiny_model, folder=tmp_path).strip()}\n"
    )
    (tmp_path / "never.py").write_text(REWARD.format(folder=tmp_path))
    command = ["train", tmp_path / "faults.toml", "--device", "cpu", "--output-dir", root.root, "--stall-after", BOUND]
    done = run(deepscaler(*command, "--on", "slurm", "--site", site))
    assert done.returncode == 0, done.stdout + done.stderr
    (job,) = read_jobs(root.root)
    one = Run(root.root, job.job_id, job.folders(root.root)[job.job_id])
    wait_until(lambda: num_steps(root) >= 3, one.logs, START)
    return one


@pytest.mark.parametrize("both_ways", [False, True])
def test_a_cut_network_is_named_and_the_training_resumes(both_ways: bool, started: Run) -> None:
    head, worker = started.nodes
    address = on_node(head, "hostname", "-i").split()[0]
    rules = [("INPUT", "-s"), ("OUTPUT", "-d")][: 1 + both_ways]

    def cut() -> None:
        for chain, option in rules:
            on_node(worker, "iptables", "-A", chain, option, address, "-j", "DROP")

    def mend() -> None:
        for chain, option in rules:
            on_node(worker, "iptables", "-D", chain, option, address, "-j", "DROP", check=False)

    record = comes_back(started, f"cut {'both ways' if both_ways else 'one way'}", cut, mend)
    assert record["outcome"] in ("cut short", "failed")  # Ray, too, notices that a machine is silent


@pytest.mark.parametrize("role", ["rollout worker", "reward worker"])
def test_a_process_that_stops_on_any_node_is_named_and_the_same_job_resumes(role: str, started: Run) -> None:
    (attempt,) = RunFolder(started.root).attempts()
    pids = {beat.host: beat.pid for beat in read_beats(attempt) if beat.role == role}
    # On CPUs there is one reward worker, and verl may put it on the head.
    node = next(name for name in (*started.nodes[1:], started.nodes[0]) if name in pids)
    pid = pids[node]

    def stop() -> None:
        on_node(node, "kill", "-STOP", str(pid))

    record = comes_back(started, f"stop {role}", stop, lambda: None)
    assert record["outcome"] == "cut short"
    assert f"{node} (pid {pid}) is stopped by a signal (SIGSTOP)" in str(record["why"])


def comes_back(started: Run, what: str, strike: Callable[[], None], heal: Callable[[], None]) -> dict[str, object]:
    """Strikes; returns the record of the attempt that was hit, once the next one has made a step."""
    root = RunFolder(started.root)
    attempt, struck = root.attempts()[-1], time.monotonic()
    strike()
    try:
        wait_until(lambda: "ended" in attempt.read_record(), started.logs, NOTICED + 120)
        noticed = time.monotonic() - struck
    finally:
        heal()
    wait_until(lambda: root.attempts()[-1].number > attempt.number, started.logs, START)
    at_restart = num_steps(root)
    wait_until(lambda: num_steps(root) > at_restart, started.logs, START)
    record = attempt.read_record()
    print(f"\n{what}: noticed after {noticed:.0f} s as {record.get('why')}")
    print(f"steps again after {time.monotonic() - struck:.0f} s")
    ask("scancel", started.job_id)
    assert noticed < NOTICED
    return record


def num_steps(run_folder: RunFolder) -> int:
    """Returns how many steps all attempts have logged."""
    return sum(path.read_text().count("timing_s/step") for path in run_folder.root.glob("attempts/*/metrics.jsonl"))
