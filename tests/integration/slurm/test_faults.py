"""Whatever dies on a real SLURM, the job goes on from what is on disk, soon, and leaves nothing behind.

Each test prints how long it took to notice and to be clean; the bounds are those of a slow machine of two cores.
"""

import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from deepscaler.system.errors import UserError
from tests.integration.slurm.conftest import SMALL_DISK
from tests.integration.slurm.sandbox import (
    NAME,
    NUM_GPUS,
    NUM_NODES,
    SITE,
    Run,
    ask,
    configured,
    controller_stopped,
    on_node,
    sandbox,
    slow_python,
    start_driver,
    state_of,
    wait_until,
    wait_until_clean,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("idle")]

NODES = [f"{NAME}{number}" for number in range(1, NUM_NODES + 1)]
NOTICED = 90.0
"""Seconds from a fault to the end of the start that it hit."""

CLEAN = 120.0
"""Seconds from the end of a job to the end of its last process."""


def start(tmp_path: Path, driver: list[str], num_steps: int = 400, num_nodes: int = 2, **site: object) -> Run:
    root = tmp_path / "run"
    command = [*driver, str(root), str(num_steps), str(num_nodes), str(NUM_GPUS)]
    return start_driver(root, command, num_nodes, replace(SITE, **site))  # type: ignore[arg-type]


def tell(what: str, **seconds: float) -> None:
    print(f"\n{what}: " + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()))


def kill_on(node: str, word: str) -> None:
    """SIGKILL to the processes of a node whose command holds a word."""
    lines = on_node(node, "ps", "-ww", "-eo", "pid,args").splitlines()
    pids = [line.split()[0] for line in lines if word in line.split(maxsplit=1)[1] and "ps -ww" not in line]
    assert pids, f"no {word} on {node}"
    on_node(node, "kill", "-9", *pids, check=False)  # one of them may end with another


def goes_on_after(run: Run, number: int, what: str, strike: Callable[[], object], bound: float = NOTICED) -> None:
    """Start `number` makes steps, is struck, and ends soon; the next one begins where it stood."""
    before = len(run.steps)
    run.wait_for_steps(before + 2)
    fault = time.time()
    strike()
    wait_until(lambda: run.record(number + 1) or "ended" in run.record(number), run.logs, bound + 30)
    noticed = float(str(run.record(number).get("ended") or time.time())) - fault
    at_fault = len(run.steps)
    run.wait_for_steps(at_fault + 1)
    tell(what, noticed=noticed, steps_again=time.time() - fault)
    assert run.steps == [*range(1, len(run.steps) + 1)], "nothing lost, nothing done twice"
    assert run.record(number + 1)["progress"], "the next start saw what this one had done"
    assert noticed < bound


def test_a_job_runs_on_all_nodes_keeps_its_secret_and_leaves_nothing(tmp_path: Path, driver: list[str]) -> None:
    run = start(tmp_path, driver, num_steps=6, num_nodes=NUM_NODES)
    run.wait_for_steps(1)
    token = run.attempt(0).token_path
    secret = token.read_text()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert secret not in "".join(on_node(node, "ps", "-ww", "-eo", "args") for node in NODES)
    assert run.wait_for_state("COMPLETED", "FAILED") == "COMPLETED", run.logs()
    tell("a job that ends by itself", clean=wait_until_clean(run, NODES, CLEAN))
    assert run.steps == [1, 2, 3, 4, 5, 6]
    for path in run.root.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), f"{path} holds the token"
    joined = re.search(r"all 4 nodes with 32 GPUs have joined in ([0-9.]+) s", run.logs())
    assert joined, run.logs()
    tell("32 GPUs on 4 nodes", joined=float(joined[1]))


def test_a_job_goes_on_after_whatever_dies_until_it_is_cancelled(tmp_path: Path, driver: list[str]) -> None:
    run = start(tmp_path, driver, num_steps=4000, max_attempts_without_progress=1)
    run.wait_for_steps(1)
    with pytest.raises(UserError, match=f"has jobs already: {run.job_id}"):
        start(tmp_path, driver)
    goes_on_after(run, 0, "driver killed", lambda: kill_on(run.nodes[0], str(run.root) + " 4000"))
    goes_on_after(run, 1, "raylet of a worker killed", lambda: kill_on(run.nodes[1], "raylet/raylet"))
    goes_on_after(run, 2, "GCS of the head killed", lambda: kill_on(run.nodes[0], "gcs_server"))
    goes_on_after(run, 3, "scontrol requeue", lambda: ask("scontrol", "requeue", run.job_id))
    lost = run.nodes[1]
    goes_on_after(run, 4, "a node without power", lambda: sandbox("kill-node", lost), bound=150)
    assert lost not in run.nodes
    run.wait_for_steps(len(run.steps) + 1)
    ask("scancel", run.job_id)
    tell("scancel", clean=wait_until_clean(run, [node for node in NODES if node != lost], CLEAN))
    run.wait_for_state("CANCELLED")
    time.sleep(5)
    assert run.state == "CANCELLED"
    assert not run.record(6), "a cancelled job is not requeued"


def test_the_time_limit(tmp_path: Path, driver: list[str]) -> None:
    run = start(tmp_path, driver, time_limit="00:02:00")
    wait_until(lambda: run.record(1), run.logs, 300)
    first = run.record(0)
    assert "SIGUSR2" in str(first["reason"]) or "time limit" in str(first["reason"]), first
    run.wait_for_steps(len(run.steps) + 1)
    assert run.steps == [*range(1, len(run.steps) + 1)]
    ask("scancel", run.job_id)
    wait_until_clean(run, NODES, CLEAN)


@pytest.mark.parametrize("told_first", [True, False])
def test_preemption_by_a_job_of_higher_priority(told_first: bool, tmp_path: Path, driver: list[str]) -> None:
    """With preempt_send_user_signal SLURM sends the job's own warning, without it SIGTERM."""
    with configured("SlurmctldParameters", "preempt_send_user_signal" if told_first else ""):
        is_preempted_and_goes_on(start(tmp_path, driver, partition="preempt"), "SIGUSR2" if told_first else "SIGTERM")


def preempt(*options: str) -> str:
    """Submits a job of higher priority that needs all nodes; returns its number."""
    job = ("sbatch", "--parsable", "--output=/dev/null", "-p", "gpu", "-A", "research", "-N4", "--mem=1G")
    return ask(*job, *options)


def is_preempted_and_goes_on(run: Run, signal_name: str) -> None:
    run.wait_for_steps(2)
    fault = time.time()
    job = preempt("--gpus-per-node=8", "--wrap=sleep 8")
    wait_until(lambda: run.record(0).get("ended") or run.state == "PENDING", run.logs, NOTICED)
    tell("preempted", stopped=time.time() - fault)
    reason = str(run.record(0).get("reason", ""))
    assert signal_name in reason, run.logs()
    before = len(run.steps)
    wait_until(lambda: state_of(job) == "COMPLETED", lambda: f"COMPLETED, but {state_of(job)}")
    wait_until(lambda: run.record(1), run.logs, 300)
    run.wait_for_steps(before + 1)
    assert run.steps == [*range(1, len(run.steps) + 1)]
    ask("scancel", run.job_id)
    wait_until_clean(run, NODES, CLEAN)


def test_a_controller_that_is_away_when_a_start_ends_costs_no_requeue(tmp_path: Path, driver: list[str]) -> None:
    run = start(tmp_path, driver)
    run.wait_for_steps(2)
    head = run.nodes[0]
    with controller_stopped():
        kill_on(head, str(run.root) + " 400")
        wait_until(lambda: "ended" in run.record(0), run.logs, NOTICED)
        time.sleep(15)  # longer than a command of SLURM's waits for an answer
    wait_until(lambda: run.record(1), run.logs)
    before = len(run.steps)
    run.wait_for_steps(before + 1)
    assert run.steps == [*range(1, len(run.steps) + 1)]
    ask("scancel", run.job_id)
    wait_until_clean(run, NODES, CLEAN)


@pytest.mark.parametrize("told_first", [True, False])
def test_a_preemption_before_python_has_begun_costs_only_a_start(
    told_first: bool, tmp_path: Path, driver: list[str]
) -> None:
    with configured("SlurmctldParameters", "preempt_send_user_signal" if told_first else ""):
        run = start(tmp_path, driver, partition="preempt", python=slow_python(tmp_path, 10))
        run.wait_for_state("RUNNING")
        time.sleep(2)
        preempt("--exclusive", "--wrap=sleep 2")
        run.wait_for_state("PENDING", "REQUEUED", "COMPLETING", seconds=NOTICED)
        run.wait_for_steps(1)
        assert not run.record(0), "the first start did not come to the head"
        ask("scancel", run.job_id)
        wait_until_clean(run, NODES, CLEAN)


def test_a_job_whose_python_does_not_start_is_tried_three_times(tmp_path: Path, driver: list[str]) -> None:
    run = start(tmp_path, driver, python="/nowhere/python")
    assert run.wait_for_state("FAILED", "COMPLETED", seconds=900) == "FAILED"
    log = next(run.folder.glob("*_0_log.out")).read_text()
    assert log.count("giving up: three starts in a row ended before the kit's first line") == 1
    assert not (run.folder / "again").exists()


def test_a_node_that_never_joins_is_named_and_tried_a_bounded_number_of_times(
    tmp_path: Path, driver: list[str]
) -> None:
    on_node(NODES[1], "mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "/tmp/ray")
    try:
        run = start(tmp_path, driver, num_nodes=NUM_NODES, join_minutes=0.5, max_attempts_without_progress=1)
        assert run.wait_for_state("COMPLETED", "FAILED", seconds=400) == "FAILED"
    finally:
        on_node(NODES[1], "umount", "/tmp/ray")
    assert NODES[1] in str(run.record(0)["reason"]), run.record(0)
    assert "have brought no step more" in str(run.record(1)["reason"])
    wait_until_clean(run, NODES, CLEAN)


def test_a_full_disk_under_the_run_ends_the_job_and_keeps_what_is_there(driver: list[str]) -> None:
    root = SMALL_DISK / "run"
    run = start_driver(root, [*driver, str(root), "4000", "2", str(NUM_GPUS)], 2, SITE)
    run.wait_for_steps(2)
    fill = SMALL_DISK / "fill"
    with suppress(OSError), fill.open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass
    done, full = run.steps, time.time()
    assert run.wait_for_state("FAILED", "COMPLETED") == "FAILED", run.logs()
    tell("a full disk", ended=time.time() - full)
    wait_until_clean(run, NODES, CLEAN)
    assert run.steps[: len(done)] == done
    assert not (run.folder / "again").exists()
    fill.unlink()


def test_bad_input_is_not_tried_again(tmp_path: Path) -> None:
    root = tmp_path / "run"
    run = start_driver(root, ["deepscaler", "train", "8k", "--set", "no_such_field=1"], 1, SITE)
    assert run.wait_for_state("COMPLETED", "FAILED") == "FAILED"
    assert run.record(0)["code"] == 2
    assert not run.record(1)
    assert "unknown recipe field 'no_such_field'" in str(run.record(0)["reason"])
    wait_until_clean(run, NODES, CLEAN)
