"""Real commands, started, watched and killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DEADLINE = 600
"""Seconds for whatever a test waits for."""


@contextmanager
def started(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def run(arguments: list[str], seconds: float = DEADLINE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=seconds, check=False)


def deepscaler(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "deepscaler", *map(str, arguments)]


def wait_until(holds: Callable[[], object], process: subprocess.Popen[str], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert process.poll() is None, f"ended before {what}: {process.communicate()[0]}"
        assert time.monotonic() < deadline, f"{what}: not after {DEADLINE} s"
        time.sleep(0.01)


def processes_of(root: Path) -> list[str]:
    """Commands of all processes that were started for a run, by their environment, so that none can hide."""
    wanted, found = f"DEEPSCALER_RUN_DIR={root}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:80])
        except OSError:
            continue
    return [command for command in found if command]


def wait_until_gone(root: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := processes_of(root):
        assert time.monotonic() < deadline, f"{seconds} s after the end there are still {left}"
        time.sleep(0.2)
