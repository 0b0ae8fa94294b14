"""Child processes: how they start, and the guardian that leaves nothing of them behind.

A guardian kills all that came of a process, once that process is gone. There are two ways to have one:

start(COMMAND)  puts it between this process and a command. It passes signals on, and kills when the command ends or
                this process dies in whatever way. Ray's agents outlive a raylet that was killed, and a trainer would
                train on without its supervisor.
guard()         puts it beside this process, for what a library starts. vLLM's engine does not notice that its parent is
                gone, and would keep the GPU's memory.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
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
"""Sent to a guardian by the kernel when the supervisor dies, or by the supervisor."""

MAX_ROUNDS = 100
"""Rounds of killing, a tenth of a second apart."""

BETWEEN, BESIDE = "between", "beside"
"""Where a guardian is: `python -m deepscaler.system.processes between PARENT:SIGNAL COMMAND ...`, `beside PID 1.0`."""


def python_command(*arguments: str) -> list[str]:
    """Returns the command of a Python child: `python_command("-m", "slurm.node.census", ...)`.

    `-m` and `-c` put the working directory first on the path, and every clone of the original DeepScaleR holds a
    package `deepscaler`; -P keeps it off.
    """
    return [sys.executable, "-P", *arguments]


def deepscaler_command(arguments: Sequence[str]) -> list[str]:
    """Returns the command that runs `deepscaler` with these arguments under this interpreter."""
    return python_command("-m", "deepscaler", *arguments)


def start(
    command: Sequence[str],
    *,
    log: Path | None,
    environment: Mapping[str, str],
    ignored_signals: Collection[int] = (),
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a command under a guardian, in a session of its own; its output is appended to a file, if one is given.

    The command ignores the signals in `ignored_signals`, regardless of sender: SLURM and Ray signal every process of a
    job, and the supervisor knows which ones should end, and when. `folder` is its working directory.
    """
    parent = ":".join(map(str, map(int, [os.getpid(), *ignored_signals])))
    output = log.open("ab") if log else None
    try:
        return subprocess.Popen(
            _guardian(BETWEEN, parent, *command),
            env=_safe(environment, folder),
            cwd=folder,
            start_new_session=True,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
        )
    finally:
        if output:
            output.close()


def end(process: subprocess.Popen[bytes], patience: float) -> None:
    """Asks a command to end, and kills what is left of it after so many seconds."""
    for sent in (signal.SIGTERM, KILL_ALL):
        if process.poll() is None:
            process.send_signal(sent)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    if process.poll() is None:
        process.kill()
        process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a command and everything it started, at once."""
    if process.poll() is None:
        process.send_signal(KILL_ALL)
    end(process, 5.0)


def guard(look_every: float = 1.0) -> None:
    """Makes sure that nothing this process starts from now on outlives it, however it ends.

    What it started less than `look_every` seconds before its end may be missed: a look reads all of /proc.
    """
    command = _guardian(BESIDE, str(os.getpid()), str(look_every))
    nowhere = subprocess.DEVNULL
    subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)


def main() -> None:
    """Runs a guardian to the end of what it guards."""
    place, who, *rest = sys.argv[1:]
    if place == BESIDE:
        return _outlive(int(who), float(rest[0]))
    parent, *ignored = map(int, who.split(":"))
    sys.exit(_run_guarded(rest, parent, ignored))


def _guardian(*arguments: str) -> list[str]:
    return python_command("-m", "deepscaler.system.processes", *arguments)


def _run_guarded(command: list[str], parent: int, ignored: list[int]) -> int:
    """Runs a command to its end; returns its code."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans of the command become children of this process
    signal.pthread_sigmask(signal.SIG_BLOCK, ignored)  # the command inherits it
    die = partial(_die_with, os.getpid(), signal.SIGKILL)  # Ray kills the children of a worker whose driver is gone
    process = subprocess.Popen(command, preexec_fn=die)  # noqa: PLW1509  no threads here
    for number in PASSED_ON:
        signal.signal(number, lambda got, _: process.send_signal(got))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ignored)
    killed = []

    def kill_all(number: int, _: FrameType | None) -> None:
        killed.append(number)
        kill_descendants()

    signal.signal(KILL_ALL, kill_all)
    _die_with(parent, KILL_ALL)
    process.wait()
    kill_descendants()
    return KILLED if killed else exit_code(process.returncode)


def _outlive(parent: int, look_every: float) -> None:
    """Waits until the parent is gone, then kills what it had started and is still the same process."""
    for number in (*PASSED_ON, KILL_ALL):
        signal.signal(number, signal.SIG_IGN)  # SLURM sends them to every process of a job
    started: dict[int, str | None] = {}
    while os.getppid() == parent:
        found = {pid: process_start(pid) for pid in descendants(parent) if pid != os.getpid()}
        if os.getppid() == parent:  # else init has adopted its children, and nothing was found
            started = found
        time.sleep(look_every)
    _kill(pid for pid, when in started.items() if when and process_start(pid) == when)


def _safe(environment: Mapping[str, str], folder: Path | None) -> dict[str, str]:
    """Returns an environment whose Pythons do not search their working directory: engines and Ray start some, too."""
    safe = {**environment, "PYTHONSAFEPATH": "1"}
    if folder and (path := environment.get("PYTHONPATH")):
        safe["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
    return safe


def _die_with(parent: int, number: int) -> None:
    """Has the kernel send this process a signal when its parent dies; at once, if that has happened."""
    LIBC.prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def kill_descendants() -> None:
    """Kills and reaps all below this process until there are none: what is killed may have started something."""
    for _ in range(MAX_ROUNDS):
        found = descendants(os.getpid())
        if not found:
            return
        _kill(found)
        time.sleep(0.1)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants(root: int) -> list[int]:
    """Returns every living process below one, by /proc."""
    below = _children_by_parent()
    found, looked_at = [], [root]
    while looked_at:
        children = below.get(looked_at.pop(), [])
        found += children
        looked_at += children
    return found


def children(parent: int) -> list[int]:
    """Returns the living processes whose parent is one, by /proc."""
    return _children_by_parent().get(parent, [])


def _children_by_parent() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                found.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    return found


def process_start(pid: int) -> str | None:
    """Returns the clock ticks from boot to a process's start, which tell it from a later one with its number.

    None if it is gone.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")  # of a name in any bytes
        return stat.rpartition(")")[2].split()[19]
    except OSError:
        return None


if __name__ == "__main__":
    main()
