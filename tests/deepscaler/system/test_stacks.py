"""What a machine's processes of a run are doing is written down, of a stopped one too."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepscaler.system import stacks
from deepscaler.system.stacks import claim, examine, read_examined

SCRIPT = "import time\ndef sleep_long():\n    print('at work', flush=True)\n    time.sleep(600)\nsleep_long()\n"


def test_a_process_that_is_stopped_shows_its_state_its_stack_and_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "PATIENCE", 120.0)
    run, log = tmp_path / "run", tmp_path / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            stdout=output,
            env={**os.environ, "DEEPSCALER_RUN_DIR": str(run), "DEEPSCALER_ATTEMPT": "3"},
        )
    try:
        while "at work" not in log.read_text():
            time.sleep(0.05)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)  # it stops when the kernel next runs it, on a busy machine late
        (seen,) = examine(tmp_path / "node", run, 3)
        assert examine(tmp_path / "other", run, 4) == []
    finally:
        process.kill()
        process.wait()
    assert (seen.pid, seen.state, seen.stack) == (process.pid, "T", True)
    assert read_examined(tmp_path / "node") == [seen]
    (told,) = (tmp_path / "node").glob("*.txt")
    assert "sleep_long" in told.read_text()
    assert "at work" in told.read_text()


def test_one_process_of_a_machine_examines_it(tmp_path: Path) -> None:
    assert [claim(tmp_path, "node1"), claim(tmp_path, "node1"), claim(tmp_path, "node2")] == [True, False, True]
