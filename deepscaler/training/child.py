"""Run a command that dies with its parent, however that dies: `python -m deepscaler.training.child PARENT COMMAND ...`.

A trainer whose supervisor was killed would train on, unwatched, without a heartbeat.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1


def start(command: Sequence[str], *, log: Path | None, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, its output appended to a file (or shared with this process)."""
    wrapped = [sys.executable, "-m", "deepscaler.training.child", str(os.getpid()), *command]
    if log is None:
        return subprocess.Popen(wrapped, env=dict(environment), start_new_session=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            wrapped, env=dict(environment), start_new_session=True, stdout=output, stderr=subprocess.STDOUT
        )


def end(process: subprocess.Popen[bytes], patience: float) -> None:
    """Ask a command's process group to end, then kill what has not after so many seconds."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
    process.wait()


def main() -> None:
    """Become the command."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("the parent died before its child began")
    os.execvp(command[0], command)  # noqa: S606  no shell on purpose


if __name__ == "__main__":
    main()
