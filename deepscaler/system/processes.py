"""Starts child processes under a guardian that leaves none of their descendants behind.

A guardian kills all descendants of a process once that process is gone. There are two kinds:

start(COMMAND)  puts it between this process and a command. It passes signals on, and kills when the command ends or
                this process dies for any reason. Ray's agents outlive a raylet that was killed, and an orphaned
                trainer would keep training without a heartbeat.
guard()         puts it beside this process, for processes that a library starts. vLLM's engine does not notice that its
                parent was killed, and would keep the GPU's memory. A signal at the parent's death (prctl) would not do,
                because it reaches forked processes only, not spawned ones.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from deepscaler.system.exit_codes import KILLED, exit_code

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
KILL_ALL = signal.SIGHUP
"""Signal that the kernel sends to a guardian when the supervisor dies; the supervisor may send it, too."""

MAX_ROUNDS = 100
"""Most rounds of killing, a tenth of a second apart."""

BETWEEN, BESIDE = "between", "beside"
"""Kinds of guardian: `python -m deepscaler.system.processes between PARENT:SIGNAL COMMAND ...`, `beside PID 1.0`."""


def python_command(*arguments: str) -> list[str]:
    """Returns the command of a Python child: `python_command("-m", "slurm.node.census", ...)`.

    `-m` and `-c` put the working directory first on the path, where every clone of the original DeepScaleR has a
    package `deepscaler`; -P keeps it off the path. Ray adds it for its workers regardless of Python's options, so verl
    runs in its attempt's folder.
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
    own_session: bool = True,
) -> subprocess.Popen[bytes]:
    """Starts a command under a guardian, in a session of its own, and appends its output to `log`, if given.

    The command ignores the signals in `ignored_signals`, regardless of sender: SLURM and Ray signal every process of a
    job, and the supervisor knows which ones should end, and when. `folder` is its working directory. Without a session
    of its own, Ctrl-C ends the command together with the process that waits for it.
    """
    parent = ":".join(map(str, map(int, [os.getpid(), *ignored_signals])))
    output = log.open("ab") if log else None
    try:
        return subprocess.Popen(
            _guardian(BETWEEN, parent, *command),
            env=_safe(environment, folder),
            cwd=folder,
            # Ctrl-C reaches the whole foreground group of a terminal; in a session of its own the command gets what the
            # supervisor sends, no more.
            start_new_session=own_session,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
        )
    finally:
        if output:
            output.close()


def end(process: subprocess.Popen[bytes], patience: float) -> None:
    """Asks a command to end, and kills what is left of it after `patience` seconds."""
    # KILL_ALL before SIGKILL: a guardian that is killed itself cannot kill the command's descendants.
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
    """Ensures that no process started from now on outlives this one, however it ends.

    A process started less than `look_every` seconds before the end may be missed; each look reads all of /proc.
    """
    command = _guardian(BESIDE, str(os.getpid()), str(look_every))
    nowhere = subprocess.DEVNULL
    subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)


def main() -> None:
    """Runs a guardian until the process that it guards ends."""
    place, who, *rest = sys.argv[1:]
    if place == BESIDE:
        return _outlive(int(who), float(rest[0]))
    parent, *ignored = map(int, who.split(":"))
    sys.exit(_run_guarded(rest, parent, ignored))


def _guardian(*arguments: str) -> list[str]:
    return python_command("-m", "deepscaler.system.processes", *arguments)


def _run_guarded(command: list[str], parent: int, ignored: list[int]) -> int:
    """Runs a command to its end, and returns its exit code."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans of the command become children of this process
    # A signal that came before there are handlers would end the guardian and leave the command's descendants.
    held = {*ignored, *PASSED_ON, KILL_ALL}
    signal.pthread_sigmask(signal.SIG_BLOCK, held)
    guardian = os.getpid()

    def begin() -> None:
        die_with(guardian, signal.SIGKILL)  # the guardian may die first: Ray kills a worker's children
        # Those it ignores stay blocked rather than ignored, since the command may install handlers, which would undo
        # SIG_IGN; and from before it starts, so that no signal slips through.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held - {*ignored})

    process = subprocess.Popen(command, preexec_fn=begin)  # noqa: PLW1509  no threads here
    for number in PASSED_ON:
        signal.signal(number, lambda got, _: process.send_signal(got))
    killed = []

    def kill_all(number: int, _: FrameType | None) -> None:
        killed.append(number)
        kill_descendants()

    signal.signal(KILL_ALL, kill_all)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
    die_with(parent, KILL_ALL)
    process.wait()
    kill_descendants()
    # The handler may have reaped the command itself; Popen then finds no child and reports 0.
    return KILLED if killed else exit_code(process.returncode)


def _outlive(parent: int, look_every: float) -> None:
    """Waits until the parent is gone, then kills its descendants, unless their pid has been reused."""
    for number in (*PASSED_ON, KILL_ALL):
        signal.signal(number, signal.SIG_IGN)  # SLURM signals every process of a job, and the guardian must stay
    started: dict[int, str | None] = {}
    while os.getppid() == parent:
        found = {pid: process_start(pid) for pid in descendants(parent) if pid != os.getpid()}
        if os.getppid() == parent:  # otherwise init has adopted its children, and the look found none
            started = found
        time.sleep(look_every)
    _kill(pid for pid, when in started.items() if when and process_start(pid) == when)


def _safe(environment: Mapping[str, str], folder: Path | None) -> dict[str, str]:
    """Returns an environment in which no Python searches its working directory; engines and Ray start Pythons, too."""
    safe = {**environment, "PYTHONSAFEPATH": "1"}
    if folder and (path := environment.get("PYTHONPATH")):
        safe["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
    return safe


def die_with(parent: int, number: int) -> None:
    """Makes the kernel send this process a signal when its parent dies, or sends it if the parent is already gone."""
    # To the kernel the parent is the thread that started this process (prctl(2)): a thread that starts commands must
    # live as long as they do.
    LIBC.prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # the parent died before prctl, so the kernel will send nothing
        os.kill(os.getpid(), number)


def kill_descendants() -> None:
    """Kills and reaps all descendants until none are left, in rounds because a dying one may have started another."""
    for _ in range(MAX_ROUNDS):
        found = descendants(os.getpid())
        if not found:
            return
        _kill(found)
        time.sleep(0.1)
        with suppress(ChildProcessError):
            # A dead child stays in /proc until it is reaped, and orphans of the command are this process's to reap.
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants(root: int) -> list[int]:
    """Returns the pids of all living descendants of a process, from /proc."""
    below = _children_by_parent()
    found, looked_at = [], [root]
    while looked_at:
        children = below.get(looked_at.pop(), [])
        found += children
        looked_at += children
    return found


def children(parent: int) -> list[int]:
    """Returns the pids of a process's living children, from /proc."""
    return _children_by_parent().get(parent, [])


def _children_by_parent() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # proc(5): the second field is the command's name in parentheses, which may itself hold ")" and spaces
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                found.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    return found


def own_start() -> float:
    """Returns the Unix seconds at which this process began, before it imported anything."""
    ticks = float(process_start(os.getpid()) or 0)
    # The kernel counts a process's start by this clock, which includes suspends, and CLOCK_MONOTONIC does not.
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def process_start(pid: int) -> str | None:
    """Returns the clock ticks from boot to a process's start, which distinguish it from a later process with its pid.

    Returns None if the process is gone.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")  # a name may hold any bytes
        # Field 22 of proc(5), starttime: the first one after the name is field 3.
        return stat.rpartition(")")[2].split()[19]
    except OSError:
        return None


if __name__ == "__main__":
    main()
