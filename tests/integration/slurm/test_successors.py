"""Where SLURM cancels what it preempts and lets nothing requeue itself, a successor goes on; nobody types anything.

Each test prints how long it took from the fault until steps were made again.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import read_metrics
from slurm.cluster import past_state
from slurm.job_folder import JobFolder
from slurm.jobs import read_jobs
from slurm.site import Site
from slurm.submit.successor import settled
from tests.integration.processes import deepscaler
from tests.integration.processes import run as run_command
from tests.integration.slurm.sandbox import (
    NUM_GPUS,
    SITE,
    Run,
    ask,
    configured,
    sandbox,
    slow_python,
    start_driver,
    state_of,
    wait_until,
    wait_until_clean,
)
from tests.integration.slurm.test_commands import SITE_FILE, typed
from tests.integration.slurm.test_faults import CLEAN, NODES, kill_on, tell

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("idle")]

FORBIDDEN = replace(SITE, partition="preempt", requeue="never", warning_seconds=30)
"""No job may requeue itself."""


@contextmanager
def preemption_cancels(grace: int) -> Iterator[None]:
    """Has the partition `preempt` cancel after so many seconds, where it would requeue."""
    change = ("scontrol", "update", "PartitionName=preempt")
    ask(*change, "PreemptMode=CANCEL", f"GraceTime={grace}")
    try:
        yield
    finally:
        ask(*change, "PreemptMode=REQUEUE", "GraceTime=30")


def preempt() -> None:
    """Takes all nodes for a moment by a job of higher priority."""
    where = ["-p", "gpu", "-A", "research", "-N4", "--exclusive", "--mem=1G"]
    ask("sbatch", "--parsable", "--output=/dev/null", *where, "--wrap=sleep 2")


def numbers(run: Run) -> list[str]:
    """The job and its successors."""
    return [run.job_id, *JobFolder(run.folder).successors()]


def queued(*states: str) -> list[str]:
    """Numbers of jobs that SLURM has not done with, in some states or in any."""
    return ask("squeue", "-h", *(["-t", ",".join(states)] if states else []), "-o", "%A").split()


def running(run: Run) -> str:
    """The one of a job and its successors that runs; empty where none does."""
    return next((number for number in queued("RUNNING") if number in numbers(run)), "")


def start(root: Path, driver: list[str], site: Site) -> Run:
    command = [*driver, str(root), "4000", "2", str(NUM_GPUS)]
    return start_driver(root, command, 2, settled(site))


def is_succeeded(run: Run, what: str, strike: Callable[[Run], object]) -> str:
    """Strikes the job that makes steps; returns how it ended, once another one has made a step more."""
    run.wait_for_steps(len(run.steps) + 2)
    struck = running(run)
    assert [state_of(number) for number in numbers(run)[-2:]] == ["RUNNING", "PENDING"], "one successor waits"
    fault = time.time()
    strike(replace(run, job_id=struck))
    wait_until(lambda: (now := running(run)) and now != struck, lambda: f"{numbers(run)}: {run.logs()}")
    at_fault = len(run.steps)
    run.wait_for_steps(at_fault + 1)
    tell(what, steps_again=time.time() - fault)
    assert run.steps == [*range(1, len(run.steps) + 1)], "nothing lost, nothing done twice"
    return state_of(struck)


@pytest.mark.long
def test_a_job_that_may_requeues_itself_in_its_grace_time_and_keeps_its_successor(
    tmp_path: Path, driver: list[str]
) -> None:
    with preemption_cancels(30):
        run = start(tmp_path / "run", driver, replace(SITE, partition="preempt"))
        run.wait_for_steps(2)
        before, fault = numbers(run), time.time()
        preempt()
        wait_until(lambda: run.record(1), run.logs)
        run.wait_for_steps(len(run.steps) + 1)
        tell("PreemptMode=CANCEL, a grace time, the job requeues itself", steps_again=time.time() - fault)
        assert (running(run), numbers(run)) == (run.job_id, before)
        assert run.steps == [*range(1, len(run.steps) + 1)]
        end_by_scancel(run)


def end_by_scancel(run: Run) -> None:
    """Cancels the running job alone, as its user may: its successor goes with it."""
    cancelled = time.monotonic()
    last = running(run)
    ask("scancel", last)
    wait_until(lambda: not set(numbers(run)) & set(queued()), "no job is left")
    tell("scancel, with its successor", gone=time.monotonic() - cancelled)
    assert [state_of(number) for number in numbers(run)[-2:]] == ["CANCELLED", "CANCELLED"]
    assert not (run.folder / "again").exists()
    wait_until_clean(run, NODES, CLEAN)


@pytest.mark.parametrize("told_first", [True, False])
def test_a_preemption_before_python_has_begun_leaves_the_successor(
    told_first: bool, tmp_path: Path, driver: list[str]
) -> None:
    signals = configured("SlurmctldParameters", "preempt_send_user_signal" if told_first else "")
    with preemption_cancels(30), signals:
        run = start(tmp_path / "run", driver, replace(FORBIDDEN, python=slow_python(tmp_path, 10)))
        wait_until(lambda: running(run) and len(numbers(run)) == 2, lambda: f"{numbers(run)}")
        time.sleep(2)
        preempt()
        wait_until(lambda: running(run) == numbers(run)[1], lambda: f"{numbers(run)}: {run.logs()}")
        run.wait_for_steps(1)
        assert not run.record(0), "the first start did not come to the head"
        end_by_scancel(run)


def test_what_is_preempted_at_once_goes_on_by_its_successor(tmp_path: Path, driver: list[str]) -> None:
    root = tmp_path / "run"
    with preemption_cancels(0):
        site = replace(SITE, partition="preempt")
        assert settled(site).has_successors, "SLURM tells that it cancels here"
        assert not settled(SITE).has_successors
        run = start(root, driver, site)
        assert is_succeeded(run, "PreemptMode=CANCEL, GraceTime=0", lambda _: preempt()) == "PREEMPTED"
        jobs = json.loads(run_command(deepscaler("status", root, "--json")).stdout)["jobs"]
        assert [(job["name"], job["state"]) for job in jobs] == [
            ("driver", "PREEMPTED"),
            ("driver, successor 1", "RUNNING"),
            ("driver, successor 2", "PENDING"),
        ]
        assert jobs[2]["reason"] == "takes over when the job before it ends"
        would = run_command(deepscaler("cancel", root, "--dry-run")).stdout
        assert [line.split()[2] for line in would.splitlines()] == numbers(run)[1:], would
        end_by_scancel(run)


@pytest.mark.long
def test_where_nothing_may_requeue_itself_six_causes_of_six_resume(tmp_path: Path, driver: list[str]) -> None:
    run = start(tmp_path / "run", driver, FORBIDDEN)
    ended: dict[str, str] = {}

    def cause(what: str, strike: Callable[[Run], object]) -> None:
        ended[what] = is_succeeded(run, what, strike)

    cause("a killed command", lambda job: kill_on(job.nodes[0], f"{run.root} 4000"))
    with preemption_cancels(0):
        cause("preemption, cancelled at once", lambda _: preempt())
    with preemption_cancels(30):
        cause("preemption, cancelled after SIGUSR2 and a grace time", lambda _: preempt())
    with preemption_cancels(30), configured("SlurmctldParameters", ""):
        cause("preemption, cancelled after SIGTERM and a grace time", lambda _: preempt())
    cause("the time limit", lambda job: ask("scontrol", "update", f"JobId={job.job_id}", "TimeLimit=1"))
    cause("a node without power", lambda job: sandbox("kill-node", job.nodes[1]))
    assert [*ended.values()] == ["FAILED", "PREEMPTED", "FAILED", "FAILED", "FAILED", "NODE_FAIL"], ended
    end_by_scancel(run)


@pytest.mark.long
@pytest.mark.usefixtures("training")
def test_a_chain_ends_unattended_where_slurm_cancels_at_once_and_nothing_may_requeue_itself(
    tiny_model: Path, tmp_path: Path
) -> None:
    """Two stages by verl, preempted while they start, train and merge, and killed once; one command is typed."""
    root, site = tmp_path / "chain", tmp_path / "site.toml"
    stages = [RunFolder(root / "1-quickstart"), RunFolder(root / "2-learn")]
    site.write_text(SITE_FILE.replace('"gpu"', '"preempt"') + 'requeue = "never"\n')
    settings = (f"model={tiny_model}", "num_steps=2", "save_every=1", "validate_every=100", "max_response_length=8")
    settings += ("train_batch_size=2", "mini_batch_size=2", "group_size=4")
    command = ["chain", "quickstart", "learn", "--device", "cpu", "--output-dir", root, "--on", "slurm", "--site", site]
    command += [part for setting in settings for part in ("--set", setting)]
    typed("data", "prepare", "arithmetic")
    began = time.monotonic()
    with preemption_cancels(0):
        typed(*command)
        first, after, second, last = (Run(root, job.job_id, root / "slurm" / job.folder) for job in read_jobs(root))
        is_replaced(first, "preempted while it starts", lambda _: preempt(), lambda: True)
        is_replaced(first, "preempted with a checkpoint", lambda _: preempt(), lambda: sealed(stages[0]))
        is_replaced(after, "preempted while it merges", lambda _: preempt(), lambda: after.record(0))
        log = second.attempt(0).log_path("driver")
        is_replaced(second, "killed", lambda job: kill_on(job.nodes[0], "learn:train"), log.exists)
        wait_until(lambda: not queued(), lambda: f"no job is left, but {queued()}", 1500)
    jobs = [numbers(run) for run in (first, after, second, last)]
    print(f"the chain: {time.monotonic() - began:.0f} s, {sum(map(len, jobs))} jobs")
    chain = json.loads((root / "chain.json").read_text())
    assert [stage["state"] for stage in chain["stages"]] == ["done", "done"], typed("logs", root)
    for stage in stages:
        metrics = read_metrics(stage)
        assert [step for step, values in metrics.items() if "critic/score/mean" in values] == [1, 2]
    assert [past_state(one[-2]) for one in jobs] == ["COMPLETED"] * 4
    assert [past_state(one[-1]) for one in jobs] == ["CANCELLED"] * 4, "none waits for work that is done"


def is_replaced(run: Run, what: str, strike: Callable[[Run], object], once: Callable[[], object]) -> None:
    """Strikes a job at work, once something is there, and waits until another one is at work in its place."""
    wait_until(lambda: running(run) and once(), lambda: f"{what}: {run.logs()}", 900)
    struck, fault = running(run), time.monotonic()
    strike(replace(run, job_id=struck))
    wait_until(lambda: running(run) not in ("", struck), lambda: f"{what}: {numbers(run)}", 300)
    print(f"{what}: {past_state(struck)}, another one at work after {time.monotonic() - fault:.0f} s", flush=True)
