"""Two attempts never write one run: real processes, killed, stopped, racing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from deepscaler.runs import fence
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.system.errors import UserError

OWNER = """
import sys, time
from pathlib import Path
from deepscaler.runs.fence import acquire, alive
from deepscaler.runs.folder import RunFolder
attempt = acquire(RunFolder(Path(sys.argv[1])), print)
if sys.argv[2:] == ["elsewhere"]:
    attempt.update_record(host="elsewhere")
if sys.argv[2:] == ["at its beginning"]:
    print("owner", attempt.number, flush=True)
    time.sleep(60)
with alive(attempt):
    print("owner", attempt.number, flush=True)
    time.sleep(600)
"""


@contextmanager
def owner(root: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(root), *more], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    assert process.stdout.readline().startswith("owner")
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_living_attempt_on_this_machine_is_refused_at_once(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with owner(run.root) as process:
        process.send_signal(signal.SIGSTOP)  # no heartbeat is waited for
        monkeypatch.setattr(fence, "STALE", 0.0)
        with pytest.raises(UserError, match=r"attempt 1 .* is at work"):
            fence.acquire(run, print)


def test_a_living_attempt_on_another_machine_is_told_by_its_heartbeat(run: RunFolder) -> None:
    with owner(run.root, "elsewhere"), pytest.raises(UserError, match=r"host elsewhere.* is at work"):
        fence.acquire(run, print)


def test_an_attempt_that_is_slow_to_begin_is_known_by_its_process(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "STALE", 1.0)
    with owner(run.root, "at its beginning") as process:
        with pytest.raises(UserError, match=rf"attempt 1 .*pid {process.pid}\) is at work"):
            fence.acquire(run, print)
        assert not run.attempt(1).heartbeat_path.exists()


def test_a_killed_attempt_on_this_machine_is_taken_over_at_once(run: RunFolder) -> None:
    with owner(run.root) as process:
        process.kill()
        process.wait()
        said: list[str] = []
        assert fence.acquire(run, said.append).number == 2
    assert said == [f"attempt 1 (host {os.uname().nodename}, pid {process.pid}) is dead: taking over."]


def test_a_silent_attempt_elsewhere_is_taken_over_and_then_fenced(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "STALE", 3.0)
    with owner(run.root, "elsewhere") as process:
        process.send_signal(signal.SIGSTOP)
        first = run.attempt(1)
        fence.check_ownership(run, first)
        said: list[str] = []
        second = fence.acquire(run, said.append)
        assert second.number == 2
        assert "waiting up to 3 s" in said[0]
        with pytest.raises(fence.FencedError, match="attempt 2 has taken over"):
            fence.check_ownership(run, first)


def test_a_heartbeat_that_cannot_be_read_now_and_then_is_no_beat(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "STALE", 1.0)
    attempt = run.attempt(1)
    attempt.root.mkdir(parents=True)
    attempt.heartbeat_path.write_text("7")
    texts = iter(("", "7", "", "7"))
    monkeypatch.setattr(fence, "text_of", lambda _: next(texts, "7"))
    assert fence.acquire(run, print).number == 2


def test_of_many_that_start_at_once_one_wins(run: RunFolder) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", OWNER, str(run.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(5)
    ]
    deadline = time.monotonic() + 240
    while len([racer for racer in racers if racer.poll() is None]) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)  # the winner lives until all others have looked, however late they come on a busy machine
    for racer in racers:
        racer.kill()
    outputs = [racer.communicate(timeout=60) for racer in racers]
    assert sum(b"owner" in out for out, _ in outputs) == 1
    assert sum(b"UserError" in err for _, err in outputs) == 4


def test_an_attempt_that_begins_between_the_look_and_the_mkdir_wins(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, listings = RunFolder.attempts, []

    def list_and_be_overtaken(self: RunFolder) -> list[Attempt]:
        attempts = listed(self)
        if not listings:
            listings.append(attempts)
            owners.append(stack.enter_context(owner(run.root)))
        return attempts

    owners: list[subprocess.Popen[str]] = []
    with ExitStack() as stack:
        monkeypatch.setattr(RunFolder, "attempts", list_and_be_overtaken)
        with pytest.raises(UserError, match="another process has just started attempt 1"):
            fence.acquire(run, print)
        assert owners[0].poll() is None
        assert [attempt.number for attempt in listed(run)] == [1]


def test_an_attempt_that_has_ended_is_no_obstacle(run: RunFolder) -> None:
    fence.acquire(run, print).update_record(ended="now")
    assert fence.acquire(run, print).number == 2
