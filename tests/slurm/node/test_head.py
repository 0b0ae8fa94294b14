"""The head runs a command: it stops it once, knows whose fault an end is, and saves what another start needs."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deepscaler.runs.folder import RunFolder
from deepscaler.system.processes import python_command
from deepscaler.system.signals import ECHO
from slurm.job_folder import JobFolder
from slurm.node import head, patience
from slurm.node.head import run_head, takes_deadline
from slurm.node.node import Node
from slurm.node.task import NodeTask
from tests.slurm.conftest import Fake
from tests.slurm.node.test_begin import wait_until


@pytest.mark.parametrize(
    ("words", "takes"),
    [
        (["train", "8k"], True),
        (["chain", "8k", "16k"], True),
        (["run", "8k", "16k"], True),
        (["evaluate", "--model", "m"], False),
        (["chain", "8k", "--deadline", "1800000000"], False),
    ],
)
def test_a_training_and_a_chain_are_given_the_deadline(words: list[str], takes: bool) -> None:
    assert takes_deadline(["python3", "-P", "-m", "deepscaler", *words]) is takes


NOTES_SIGNALS = """
import os, signal, sys, time
from pathlib import Path
here = Path(sys.argv[1])
def note(number, _):
    with (here / "signals").open("a") as file:
        file.write(f"{time.monotonic()}\\n")
signal.signal(signal.SIGTERM, note)
(here / "pid").write_text(str(os.getpid()))
(here / "ready").touch()
end = time.monotonic() + 60
while time.monotonic() < end:
    time.sleep(0.05)
    if (here / "signals").exists():
        end = min(end, time.monotonic() + 5)
sys.exit(143)
"""
HEAD = """
import sys
from pathlib import Path
from slurm.job_folder import JobFolder
from slurm.node.head import run_head
from slurm.node.node import Node
from slurm.node.task import NodeTask
folder, *command = sys.argv[1:]
task = NodeTask(command=tuple(command), folder=folder, output=folder, num_gpus=0, ray=False)
sys.exit(run_head(Node(task=task, name="n1", names=("n1",), rank=0, restart=0, folder=JobFolder(Path(folder)))))
"""


@contextmanager
def head_of(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a head whose command notes its signals, from the command's first moment."""
    (folder / "command.py").write_text(NOTES_SIGNALS)
    command = (sys.executable, str(folder / "command.py"), str(folder))
    process = subprocess.Popen(python_command("-c", HEAD, str(folder), *command), env={**os.environ})
    try:
        wait_until((folder / "ready").exists, "the command runs")
        yield process
    finally:
        process.terminate()
        process.wait(60)


def test_while_slurm_is_slow_to_answer_one_preemption_stays_one_request(tmp_path: Path, fake: Fake) -> None:
    fake(scontrol="")
    (tmp_path / "bin/scontrol").write_text("#!/bin/sh\nexec sleep 10\n")
    with head_of(tmp_path) as started:
        for pid in (int((tmp_path / "pid").read_text()), started.pid):  # SLURM signals every process of a step
            os.kill(pid, signal.SIGTERM)
        assert started.wait(60) == 75
    came = [float(line) for line in (tmp_path / "signals").read_text().split()]
    assert len(came) > 1, "SLURM's and the head's"
    assert came[-1] - came[0] < ECHO, "a later one is a second request: a training ends without saving"


def test_what_slurm_ends_for_good_is_killed_and_recorded(tmp_path: Path, fake: Fake) -> None:
    fake(scontrol="JobId=8 JobState=COMPLETING Reason=None PreemptTime=None")
    with head_of(tmp_path) as started:
        started.send_signal(signal.SIGTERM)
        assert started.wait(4) == 130, "it does not wait for the command, which takes five seconds"
    folder = JobFolder(tmp_path)
    assert folder.last_record()["reason"] == "SIGTERM: SLURM cancels the job"
    assert not folder.again_path.exists()


def node_of(folder: Path, *command: str, restart: int = 0) -> Node:
    """Returns a node alone in its job, which runs a command without Ray."""
    task = NodeTask(command=command, folder=str(folder), output=str(folder), num_gpus=0, ray=False)
    return Node(task=task, name="n1", names=("n1",), rank=0, restart=restart, folder=JobFolder(folder))


def failing(patched: pytest.MonkeyPatch, number: int, times: int) -> None:
    """Has a look for files fail so many times."""
    glob, left = Path.glob, [times]

    def fail(path: Path, pattern: str) -> Iterator[Path]:
        if pattern == "*.failed" and left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return glob(path, pattern)

    patched.setattr(Path, "glob", fail)


SLEEPS = (sys.executable, "-c", "import time; time.sleep(1)")


def test_a_file_system_that_fails_for_a_moment_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, errno.ESTALE, 3)
    assert run_head(node_of(tmp_path, *SLEEPS)) == 0
    assert JobFolder(tmp_path).last_record()["code"] == 0


@pytest.mark.parametrize(
    ("number", "code", "again"), [(errno.EIO, 75, True), (errno.ESHUTDOWN, 75, True), (errno.ENOSPC, 2, False)]
)
def test_one_that_stays_away_costs_a_start_and_a_full_one_the_job(
    number: int, code: int, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, number, 1000)
    monkeypatch.setattr(patience, "STALE", 0.5)
    node = node_of(tmp_path, *SLEEPS)
    monkeypatch.setattr(Node, "here", lambda _: node)
    with pytest.raises(SystemExit) as ended:
        node.task()  # type: ignore[operator]
    record = node.folder.last_record()
    assert (ended.value.code, record["code"], record["again"]) == (code, code, again)
    assert os.strerror(number) in record["reason"]
    assert node.folder.again_path.exists() is again


def test_a_disk_that_is_away_when_a_start_is_recorded_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, left = JobFolder.end, [2]

    def fail(*arguments: Any, **options: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EIO, "away")
        end(*arguments, **options)

    monkeypatch.setattr(JobFolder, "end", fail)
    assert run_head(node_of(tmp_path, sys.executable, "-c", "")) == 0
    assert not JobFolder(tmp_path).again_path.exists()


@pytest.mark.parametrize(("by_slurm", "before", "runs"), [(True, 19, True), (True, 20, False), (False, 3, False)])
def test_preemptions_without_progress_are_borne_longer_than_starts_that_failed(
    by_slurm: bool, before: int, runs: bool, tmp_path: Path
) -> None:
    folder = JobFolder(tmp_path)
    for number in range(before):
        folder.end(folder.begin(number, 0), 75, "SIGTERM", again=True, by_slurm=by_slurm)
    assert run_head(node_of(tmp_path, sys.executable, "-c", "", restart=before)) == (0 if runs else 1)
    assert not folder.again_path.exists()


@pytest.mark.parametrize(("minutes_left", "by_slurm"), [(60, True), (1, False)])
def test_a_warning_is_slurms_doing_unless_the_time_limit_is_near(
    minutes_left: int, by_slurm: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSCALER_JOB_END", str(time.time() + 60 * minutes_left))
    with head_of(tmp_path) as started:
        started.send_signal(signal.SIGUSR2)
        assert started.wait(60) == 75
    assert JobFolder(tmp_path).last_record().get("by_slurm", False) is by_slurm


LIVES = """
import sys, time
from pathlib import Path
from deepscaler.runs import fence
from deepscaler.runs.folder import RunFolder
fence.BEAT = 0.2
attempt = fence.acquire(RunFolder(Path(sys.argv[1])), print)
attempt.update_record(host="elsewhere")
with fence.alive(attempt):
    print("lives", flush=True)
    time.sleep(float(sys.argv[2]))
time.sleep(60)
"""
TRAINS = """
import sys
from pathlib import Path
from deepscaler.runs import fence
from deepscaler.runs.folder import RunFolder
from deepscaler.system.errors import UserError
fence.STALE = 1.0
try:
    fence.acquire(RunFolder(Path(sys.argv[1])), print)
except UserError:
    sys.exit(2)
"""


@contextmanager
def attempt_elsewhere(folder: Path, seconds: float) -> Iterator[None]:
    """Has a training at work in a folder, on a machine that SLURM lost sight of, for so many seconds."""
    command = python_command("-c", LIVES, str(folder), str(seconds))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "lives\n"
        yield
        process.kill()


def test_a_start_waits_for_an_earlier_one_of_its_job_that_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "STALE", 1.5)
    node = node_of(tmp_path, sys.executable, "-c", TRAINS, str(tmp_path), restart=1)
    node.folder.begin(0, 0)
    with attempt_elsewhere(tmp_path, 4.0):
        assert run_head(node) == 0
    assert [attempt.number for attempt in RunFolder(tmp_path).attempts()] == [1, 2]


def test_one_that_works_for_too_long_costs_a_start_and_not_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "EARLIER", 3.0)
    node = node_of(tmp_path, sys.executable, "-c", TRAINS, str(tmp_path), restart=1)
    node.folder.begin(0, 0)
    with attempt_elsewhere(tmp_path, 600.0):
        assert run_head(node) == 75
    record = node.folder.last_record()
    assert record["reason"].startswith("an earlier start of this job is at work")
    assert record["by_slurm"]
    assert node.folder.again_path.exists()


def test_where_no_earlier_start_can_live_another_training_in_the_folder_is_bad_input(tmp_path: Path) -> None:
    node = node_of(tmp_path, sys.executable, "-c", TRAINS, str(tmp_path), restart=1)
    node.folder.end(node.folder.begin(0, 0), 75, "preempted", again=True)
    with attempt_elsewhere(tmp_path, 600.0):
        assert run_head(node) == 2
    assert not node.folder.again_path.exists()


def test_bad_input_after_a_killed_start_is_still_bad_input(tmp_path: Path) -> None:
    node = node_of(tmp_path, sys.executable, "-c", "import sys; sys.exit(2)", restart=1)
    node.folder.begin(0, 0)
    assert run_head(node) == 2
    assert not node.folder.again_path.exists()
