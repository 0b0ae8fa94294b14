"""The watcher finds out who stalls, by signs of life that real processes write; verl is not needed for that.

Real trainings are struck in tests/integration/test_stalls.py.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.faults import command, disk_that_freezes
from deepscaler.runs.beats import beats_folder, read_beats, stalls_folder
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.runs.phases import read_moment
from deepscaler.training.stalls.watcher import GONE, Limits, Stall, Watcher
from tests.deepscaler.runs.runs import make_run

pytestmark = pytest.mark.slow

FLOOR = 14.0
"""Seconds: a process counts as silent after 12."""

WORKER = """
import sys, time
from setproctitle import setproctitle
from deepscaler.verl_plugin import beats, phases
if sys.argv[1] == "trainer":
    phases.current = phases.Phases(0)
    while True:
        phases.current.enter("step")
        time.sleep(0.3)
        phases.current.leave()
setproctitle("ray::AgentLoopWorkerTQ")
with beats.doing("reward"):
    time.sleep(600)
"""


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    run = make_run(tmp_path / "run")
    one = run.next_attempt()
    one.root.mkdir(parents=True)
    return one


@contextmanager
def at_work(attempt: Attempt) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Starts a trainer that comes forward, and a worker."""
    environment = {"DEEPSCALER_RUN_DIR": str(attempt.root.parents[1]), "DEEPSCALER_ATTEMPT": str(attempt.number)}
    started = [
        subprocess.Popen([sys.executable, "-c", WORKER, role], env={**os.environ, **environment})
        for role in ("trainer", "worker")
    ]
    try:
        wait_until(lambda: len(list(beats_folder(attempt).glob("*.json"))) == 2 and read_moment(attempt).entered > 2)
        yield started
    finally:
        for one in started:
            one.kill()
            one.wait()


@pytest.fixture
def processes(attempt: Attempt) -> Iterator[list[subprocess.Popen[bytes]]]:
    with at_work(attempt) as started:
        yield started


@pytest.fixture
def watcher(attempt: Attempt, processes: list[subprocess.Popen[bytes]]) -> Iterator[Watcher]:
    run = RunFolder(attempt.root.parents[1])
    with Watcher(run, attempt, Limits(floor=FLOOR, ceiling=FLOOR), os.environ, lambda _: None) as one:
        one.add(1, {"timing_s/step": 0.3})
        one.add(2, {"timing_s/step": 0.3})
        yield one


def wait_until(holds: Callable[[], object], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def found_by(watcher: Watcher, seconds: float = 240) -> Stall:
    wait_until(lambda: watcher.news, seconds)
    stall = watcher.take_news()
    assert stall
    return stall


def test_a_trainer_that_is_stopped_is_named_with_its_stack_and_goes_on(
    attempt: Attempt, processes: list[subprocess.Popen[bytes]], watcher: Watcher
) -> None:
    trainer, worker = processes
    assert {beat.pid for beat in read_beats(attempt)} == {trainer.pid, worker.pid}
    time.sleep(3)
    assert not watcher.news
    trainer.send_signal(signal.SIGSTOP)
    stall = found_by(watcher)
    assert stall.helps_to_restart
    assert f"(pid {trainer.pid}) is stopped by a signal (SIGSTOP) or a debugger." in stall.sentence
    assert "in step at step" in stall.sentence
    assert "which takes 0.3 s otherwise" in stall.sentence
    folder = stalls_folder(attempt) / "1"
    assert stall.folder == folder
    (stack,) = (folder / os.uname().nodename).glob(f"*-{trainer.pid}.txt")
    assert "<module>" in stack.read_text()
    assert (folder / "sentence.txt").read_text().strip() == stall.sentence
    own = folder / f"own/{os.uname().nodename}-{worker.pid}.txt"
    wait_until(lambda: own.is_file() and "Thread 'MainThread'" in own.read_text())
    assert list((folder / "own").iterdir()) == [own]
    trainer.send_signal(signal.SIGCONT)
    wait_until(lambda: watcher.news)
    assert watcher.take_news() is None


def test_a_dead_actor_is_named_long_before_the_time_is_up_that_is_always_allowed(
    attempt: Attempt, processes: list[subprocess.Popen[bytes]]
) -> None:
    trainer, worker = processes
    limits = Limits(floor=10 * GONE, ceiling=10 * GONE)
    with Watcher(RunFolder(attempt.root.parents[1]), attempt, limits, os.environ, lambda _: None) as one:
        one.add(1, {"timing_s/step": 0.3})
        one.add(2, {"timing_s/step": 0.3})
        time.sleep(3)
        trainer.send_signal(signal.SIGSTOP)
        worker.kill()
        worker.wait()
        stall = found_by(one, 8 * GONE)
    assert f"the agent loop on {os.uname().nodename} (pid {worker.pid}) is gone: killed" in stall.sentence


@contextmanager
def frozen_for_a_while(folder: Path, said: list[str]) -> Iterator[tuple[Watcher, Stall]]:
    """Watches a run whose disk freezes; yields the stall that was found, once the disk answers again."""
    with disk_that_freezes(folder) as disk:
        run = make_run(disk / "run")
        attempt = run.next_attempt()
        attempt.root.mkdir(parents=True)
        with (
            at_work(attempt),
            Watcher(run, attempt, Limits(floor=FLOOR, ceiling=FLOOR), os.environ, said.append) as one,
        ):
            time.sleep(3)
            command("fsfreeze", "--freeze", disk)
            try:
                stall = found_by(one)
                wait_until(lambda: said)
            finally:
                command("fsfreeze", "--unfreeze", disk)
            assert not stall.helps_to_restart
            assert f"the file system of {run.root} has not answered for" in stall.sentence
            yield one, stall


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to freeze a file system")
def test_a_file_system_that_hangs_is_named_and_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    with frozen_for_a_while(tmp_path, said) as (one, stall):
        assert not stall.folder.is_relative_to(one._run.parent), "not on the disk that hangs"
        assert "It continues once the file system answers" in said[0]
        wait_until((stall.folder / os.uname().nodename / "processes.json").is_file)
        shutil.rmtree(stall.folder)
        wait_until(lambda: len(said) > 1)
        assert "the run's folder answers again after" in said[1]
        wait_until(lambda: one.news)
        assert one.take_news() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to freeze a file system")
def test_without_room_for_stacks_the_watcher_still_speaks_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    said: list[str] = []
    with frozen_for_a_while(tmp_path, said):
        assert f"{tmp_path}/gone has no room for stacks." in said[0]
        wait_until(lambda: len(said) > 1)
        assert "the run's folder answers again after" in said[1]
