"""What a machine's processes of a run are doing is written down, of a stopped one too."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deepscaler.system import stacks
from deepscaler.system.memory import DAEMONS
from deepscaler.system.stacks import Seen, claim, examine, read_examined

SCRIPT = "import time\ndef sleep_long():\n    print('at work', flush=True)\n    time.sleep(600)\nsleep_long()\n"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "PATIENCE", 120.0)
    monkeypatch.setattr(stacks, "TOTAL", 120.0)


@pytest.fixture
def process(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Starts a process of the third attempt at `run`, which prints to `log.txt`."""
    log = tmp_path / "log.txt"
    environment = {**os.environ, "DEEPSCALER_RUN_DIR": str(tmp_path / "run"), "DEEPSCALER_ATTEMPT": "3"}
    with (
        log.open("wb") as output,
        subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=output, env=environment) as process,
    ):
        while "at work" not in log.read_text():
            time.sleep(0.05)
        yield process
        process.kill()


def of_attempt(seen: list[Seen]) -> list[Seen]:
    """Returns all but the daemons of other people's Ray on this machine."""
    return [one for one in seen if one.name not in DAEMONS]


def test_a_process_that_is_stopped_shows_its_state_its_stack_and_its_log(
    tmp_path: Path, process: "subprocess.Popen[bytes]"
) -> None:
    run = tmp_path / "run"
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)  # it stops when the kernel next runs it, on a busy machine late
    found = examine(tmp_path / "node", run, 3)
    assert of_attempt(examine(tmp_path / "other", run, 4)) == []
    (seen,) = of_attempt(found)
    assert (seen.pid, seen.state, seen.stack) == (process.pid, "T", True)
    assert read_examined(tmp_path / "node") == found
    (told,) = (tmp_path / "node").glob(f"*-{process.pid}.txt")
    assert "sleep_long" in told.read_text()
    assert told.read_text().endswith(f"== the end of {tmp_path / 'log.txt'}\nat work\n")


def test_without_time_for_stacks_the_states_are_recorded_all_the_same(
    tmp_path: Path, process: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine has dozens of processes, and py-spy may need seconds for each."""
    monkeypatch.setattr(stacks, "TOTAL", 0.0)
    (seen,) = of_attempt(examine(tmp_path / "node", tmp_path / "run", 3))
    assert (seen.pid, seen.stack) == (process.pid, False)
    assert seen.state in ("R", "S")
    (told,) = (tmp_path / "node").glob(f"*-{process.pid}.txt")
    assert "no time was left for py-spy" in told.read_text()


def test_no_log_is_read_where_the_file_system_hangs(tmp_path: Path, process: "subprocess.Popen[bytes]") -> None:
    examine(tmp_path / "node", tmp_path / "run", 3, hanging=tmp_path)
    (told,) = (tmp_path / "node").glob(f"*-{process.pid}.txt")
    assert "sleep_long" in told.read_text()
    assert "== the end of" not in told.read_text()


def test_a_process_that_cannot_be_looked_at_holds_nobody(
    tmp_path: Path, process: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = threading.Event()
    monkeypatch.setattr(stacks, "TOTAL", 0.2)
    monkeypatch.setattr(stacks, "LEFT_BEHIND", 0.0)
    monkeypatch.setattr(stacks, "_look_at", lambda *_: hanging.wait(60))
    assert examine(tmp_path / "node", tmp_path / "run", 3) == []
    assert read_examined(tmp_path / "node") == []
    hanging.set()


def test_the_daemons_of_a_launchers_ray_are_examined(tmp_path: Path) -> None:
    """They know nothing of the run, and a stopped one stalls it."""
    daemon = tmp_path / "raylet"
    shutil.copy(shutil.which("sleep") or "", daemon)
    run = str(tmp_path / "run")
    with ended(daemon) as launchers, ended(daemon, DEEPSCALER_RUN_DIR="another") as others:
        pids = {one.pid for one in examine(tmp_path / "node", Path(run), 3)}
        assert launchers.pid in pids
        assert others.pid not in pids
        with ended(daemon, DEEPSCALER_RUN_DIR=run, DEEPSCALER_ATTEMPT="3") as own:
            assert [one.pid for one in examine(tmp_path / "own", Path(run), 3)] == [own.pid]


@contextmanager
def ended(program: Path, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DEEPSCALER_")}
    with subprocess.Popen([program, "60"], env={**kept, **environment}) as process:
        while Path(f"/proc/{process.pid}/comm").read_text().strip() != program.name:
            time.sleep(0.01)
        try:
            yield process
        finally:
            process.kill()


def test_one_process_of_a_machine_examines_it(tmp_path: Path) -> None:
    assert [claim(tmp_path, "node1"), claim(tmp_path, "node1"), claim(tmp_path, "node2")] == [True, False, True]
