"""A head's preparation as the kubelet starts it: a command and the wait for the attempt before, as real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from deepscaler.runs.fence import alive
from deepscaler.runs.folder import RunFolder
from deepscaler.system.processes import deepscaler_command

DEADLINE = 120
"""Seconds for whatever a test waits for: a busy machine may take a minute to start a command."""

SAYS = "touch begun; echo filling the cache; "


@contextmanager
def at_work(root: Path) -> Iterator[Callable[[], None]]:
    """An attempt of another Ray cluster that lives until the callable is called."""
    attempt = RunFolder(root).attempt(1)
    attempt.root.mkdir(parents=True)
    attempt.update_record(host="train-8k-abcde-head-x1y2z")
    over = Event()

    def live() -> None:
        with alive(attempt):
            over.wait(2 * DEADLINE)
        attempt.update_record(ended="now", outcome="finished")

    thread = Thread(target=live)
    thread.start()
    try:
        yield over.set
    finally:
        over.set()
        thread.join()


def waiting(root: Path, script: str = "", *, command: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = ("sh", "-c", script) if script else command
    words = deepscaler_command(["k8s", "wait", str(root / "run"), *(["--", *command] if command else [])])
    return subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_command_runs_while_the_attempt_before_is_waited_for(tmp_path: Path) -> None:
    with at_work(tmp_path / "run") as end:
        process = waiting(tmp_path, SAYS + "echo filled; touch filled")
        until((tmp_path / "filled").exists)
        time.sleep(1.5)
        assert process.poll() is None, "the attempt is at work"
        end()
        output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, output
    lines = output.splitlines()
    assert {"filling the cache", "filled"} <= set(lines)
    assert lines[-1].endswith(" has ended.")


def test_a_command_that_takes_longer_is_waited_for(tmp_path: Path) -> None:
    process = waiting(tmp_path, SAYS + "while ! test -e go; do sleep 0.1; done; touch filled")
    until((tmp_path / "begun").exists)
    time.sleep(1.5)
    assert process.poll() is None
    (tmp_path / "go").touch()
    assert process.communicate(timeout=DEADLINE)[0] == "filling the cache\n"
    assert process.returncode == 0
    assert (tmp_path / "filled").exists()


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        ("exit 3", 3, "failed (exit code 3)"),
        ("kill -9 $$", 137, "was killed, often for lack of memory (exit code 137)"),
    ],
)
@pytest.mark.parametrize("is_awaited", [True, False])
def test_a_command_that_fails_ends_the_waiting(
    end: str, code: int, told: str, tmp_path: Path, *, is_awaited: bool
) -> None:
    if is_awaited:
        with at_work(tmp_path / "run"):
            process = waiting(tmp_path, SAYS + end)
            output, _ = process.communicate(timeout=DEADLINE)
    else:
        process = waiting(tmp_path, SAYS + end)
        output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == code
    assert output.splitlines()[-1] == f"`sh -c '{SAYS}{end}'` {told}: nothing is waited for any more."


def test_a_wait_that_fails_ends_the_command(tmp_path: Path) -> None:
    with at_work(tmp_path / "run"):
        process = waiting(tmp_path, "echo $$ > pid; touch begun; exec sleep 600")
        until((tmp_path / "begun").exists)
        (tmp_path / "run/attempts/0001/attempt.json").write_text("{")
        output, _ = process.communicate(timeout=DEADLINE)
        RunFolder(tmp_path / "run").attempt(1).record_path.unlink()
    assert process.returncode == 2
    assert "`sh -c 'echo $$ > pid; touch begun; exec sleep 600'` is ended, too." in output
    assert output.splitlines()[-1].startswith("deepscaler: ")
    assert is_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_command_too(number: signal.Signals, tmp_path: Path) -> None:
    script = 'trap "touch asked; exit 1" TERM; echo $$ > pid; touch begun; while :; do sleep 0.1; done'
    with at_work(tmp_path / "run"):
        process = waiting(tmp_path, script)
        until((tmp_path / "begun").exists)
        process.send_signal(number)
        output, _ = process.communicate(timeout=DEADLINE)
    until(lambda: is_gone(int((tmp_path / "pid").read_text())))
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert "SIGTERM came: nothing is waited for any more." in output
        assert "is ended, too." in output
        assert (tmp_path / "asked").exists(), "it was asked before it was killed"


def test_without_a_command_a_signal_ends_the_waiting(tmp_path: Path) -> None:
    with at_work(tmp_path / "run"):
        process = waiting(tmp_path)
        assert process.stdout
        assert "has not ended: waiting" in process.stdout.readline()
        process.terminate()
        output, _ = process.communicate(timeout=DEADLINE)
    assert (process.returncode, output) == (143, "SIGTERM came: nothing is waited for any more.\n")


def test_what_follows_the_dashes_is_the_command_as_it_is(tmp_path: Path) -> None:
    process = waiting(tmp_path, command=(sys.executable, "-c", "import sys; print(sys.argv[1:])", "--missing", "a b"))
    assert process.communicate(timeout=DEADLINE)[0] == "['--missing', 'a b']\n"
    assert process.returncode == 0


def test_a_command_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    process = waiting(tmp_path, command=("deepscalr", "data"))
    told = "deepscaler: there is no command 'deepscalr' to run beside: give one of this machine after `--`\n"
    assert process.communicate(timeout=DEADLINE)[0] == told
    assert process.returncode == 2
