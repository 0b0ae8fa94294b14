"""The watcher goes on looking and says what it knows, whatever hangs or fails around it.

Real processes that stop are found in tests/integration/test_watcher.py.
"""

import errno
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deepscaler.runs.beats import beats_folder, read_stalls
from deepscaler.runs.folder import Attempt
from deepscaler.runs.phases import phase_path
from deepscaler.training.stalls import cause, evidence, watcher
from deepscaler.training.stalls.evidence import collect
from deepscaler.training.stalls.watcher import Limits, Stall, Watcher
from tests.deepscaler.runs.runs import make_run

FLOOR = 1.0


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attempt:
    """A training whose trainer says nothing more, looked at often and with little patience."""
    for module, name, seconds in (
        (watcher, "BEAT", 0.05),
        (watcher, "GONE", 0.5),
        (evidence, "PATIENCE", 0.2),
        (evidence, "ANSWER", 0.2),
        (cause, "SILENT", 0.3),
    ):
        monkeypatch.setattr(module, name, seconds)
    attempt = make_run(tmp_path / "run").next_attempt()
    attempt.root.mkdir(parents=True)
    comes_forward(attempt, 2)
    return attempt


def comes_forward(attempt: Attempt, step: int) -> None:
    phase_path(attempt).write_text(json.dumps({"beat": step, "phase": "step", "step": step}))


@contextmanager
def watching(attempt: Attempt, said: list[str], is_ending: Callable[[], bool] = lambda: False) -> Iterator[Watcher]:
    run, limits = make_run(attempt.root.parents[1]), Limits(floor=FLOOR, ceiling=FLOOR)
    with Watcher(run, attempt, limits, os.environ, said.append, is_ending) as one:
        one.add(1, {"timing_s/step": 0.1})
        one.add(2, {"timing_s/step": 0.1})
        yield one


def found_by(watcher: Watcher) -> Stall | None:
    deadline = time.monotonic() + 60
    while not watcher.news:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return watcher.take_news()


def test_a_stall_is_reported_in_time_though_its_evidence_cannot_be_collected(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = threading.Event()
    monkeypatch.setattr(watcher, "EVIDENCE", 1.0)
    monkeypatch.setattr(watcher, "collect", lambda *_: hanging.wait(60))
    said: list[str] = []
    with watching(attempt, said) as one:
        stall = found_by(one)
        assert stall
        assert stall.helps_to_restart
        assert "in step at step 2, which takes 0.1 s otherwise: all processes live" in stall.sentence
        assert stall.sentence.endswith("; evidence could not be collected within 1 s.")
        comes_forward(attempt, 3)
        assert found_by(one) is None
    assert said[0] == f"Stall watcher: {stall.sentence}"
    hanging.set()


def test_collecting_does_not_wait_for_a_look_at_processes_that_hangs(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = threading.Event()
    monkeypatch.setattr(evidence, "examine", lambda *_: hanging.wait(60))
    silence = cause.Silence(moment=cause.Moment(phase="step", step=2), seconds=60.0)
    began = time.monotonic()
    found = [collect(attempt, silence, os.environ) for _ in range(2)]
    assert time.monotonic() - began < 30
    assert [one.folder.name for one in found] == ["1", "2"]
    assert list(read_stalls(attempt)) == [("step", 2, 60.0)] * 2
    hanging.set()


def test_a_thread_that_cannot_be_started_once_does_not_end_the_watching(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, failures = threading.Thread.start, [RuntimeError("can't start new thread")] * 2

    def fail_twice(thread: threading.Thread) -> None:
        if thread.name == "stall watcher's look" and failures:
            raise failures.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail_twice)
    said: list[str] = []
    with watching(attempt, said) as one:
        assert found_by(one)
    assert said == ["Stall watcher: RuntimeError: can't start new thread. It keeps looking."]


@contextmanager
def actor_that_dies(attempt: Attempt) -> Iterator[subprocess.Popen[bytes]]:
    """Starts what looks like an agent loop to the watcher."""
    with subprocess.Popen(["sleep", "60"]) as process:
        beat = {"beat": 1, "role": "agent loop", "host": os.uname().nodename, "pid": process.pid}
        beats_folder(attempt).mkdir()
        (beats_folder(attempt) / "one.json").write_text(json.dumps(beat))
        try:
            yield process
        finally:
            process.kill()


def test_where_nobody_knows_whether_the_run_ends_the_usual_bound_holds(attempt: Attempt) -> None:
    def fails() -> bool:
        raise OSError(errno.ESTALE, "Stale file handle")

    with actor_that_dies(attempt) as process, watching(attempt, [], fails) as one:
        time.sleep(0.3)
        process.kill()
        process.wait()
        stall = found_by(one)
    assert stall
    assert f"(pid {process.pid}) is gone" in stall.sentence


def test_asking_whether_the_run_ends_may_hang_as_its_folder_does(
    attempt: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "PATIENCE", 0.2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    hanging = threading.Event()
    with actor_that_dies(attempt) as process, watching(attempt, [], lambda: hanging.wait(60)) as one:
        time.sleep(0.3)
        process.kill()
        process.wait()
        stall = found_by(one)
        assert stall
        assert not stall.helps_to_restart
        hanging.set()
        assert found_by(one) is None
