"""A command that leaves nothing behind: `python -m deepscaler.system.processes PARENT COMMAND ...`.

This process stands between a supervisor and its command. It passes signals on; and when the command ends, or the
supervisor dies in whatever way, it kills every process that came of the command, which itself dies with this process.
Ray's agents outlive their raylet where that was killed, and a trainer without its supervisor would train on without a
heartbeat.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType

from deepscaler.system.exit_codes import KILLED, exit_code

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
KILL_ALL = signal.SIGHUP
"""Sent by the kernel when the supervisor dies, or by the supervisor."""

MOST_ROUNDS = 100
"""Of killing, a tenth of a second apart."""


def start(
    command: Sequence[str], *, log: Path | None, environment: Mapping[str, str], deaf_to: Collection[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, its output appended to a file (or shared with this process).

    It never gets the signals that it is deaf to, whoever sends them: SLURM and Ray signal every process of a job, and
    the supervisor knows what is to be ended, and when.
    """
    who = ":".join(map(str, map(int, [os.getpid(), *deaf_to])))
    wrapped = [sys.executable, "-m", "deepscaler.system.processes", who, *command]
    if log is None:
        return subprocess.Popen(wrapped, env=dict(environment), start_new_session=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            wrapped, env=dict(environment), start_new_session=True, stdout=output, stderr=subprocess.STDOUT
        )


def end(process: subprocess.Popen[bytes], patience: float) -> None:
    """Ask a command to end, and kill whatever is left of it after so many seconds."""
    for sent in (signal.SIGTERM, KILL_ALL):
        if process.poll() is None:
            process.send_signal(sent)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    if process.poll() is None:
        process.kill()
        process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and all that came of it, at once."""
    if process.poll() is None:
        process.send_signal(KILL_ALL)
    end(process, 5.0)


def main() -> None:
    """Run the command to its end, and exit as it did."""
    who, *command = sys.argv[1:]
    parent, *deaf_to = map(int, who.split(":"))
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans of the command become children of this process
    signal.pthread_sigmask(signal.SIG_BLOCK, deaf_to)  # the command inherits it
    die = partial(_die_with, os.getpid(), signal.SIGKILL)  # Ray kills the children of a worker whose driver is gone
    process = subprocess.Popen(command, preexec_fn=die)  # noqa: PLW1509  no threads here
    for number in PASSED_ON:
        signal.signal(number, lambda got, _: process.send_signal(got))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, deaf_to)
    killed = []

    def kill_all(number: int, _: FrameType | None) -> None:
        killed.append(number)
        _kill_descendants()

    signal.signal(KILL_ALL, kill_all)
    _die_with(parent, KILL_ALL)
    code = process.wait()
    _kill_descendants()
    sys.exit(KILLED if killed else exit_code(code))


def _die_with(parent: int, number: int) -> None:
    """Have the kernel send this process a signal when its parent dies; at once, if that has happened."""
    LIBC.prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _kill_descendants() -> None:
    """Kill and reap until there are none: what is killed may have started something meanwhile."""
    for _ in range(MOST_ROUNDS):
        found = descendants(os.getpid())
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def descendants(root: int) -> list[int]:
    """Every living process below one, by /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, looked_at = [], [root]
    while looked_at:
        below = children.get(looked_at.pop(), [])
        found += below
        looked_at += below
    return found


def process_start(pid: int) -> str | None:
    """Clock ticks from boot to a process's start: they tell it from a later one with its number. None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")  # of a name in any bytes
        return stat.rpartition(")")[2].split()[19]
    except OSError:
        return None


if __name__ == "__main__":
    main()
