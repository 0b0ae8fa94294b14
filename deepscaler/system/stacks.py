"""Records what the processes of a run on this machine are doing: stacks from py-spy, states and last log lines.

node2/processes.json            [{"pid": 4711, "name": "ray::RewardLoopWorker", "state": "T", "stack": true, ...}]
node2/RewardLoopWorker-4711.txt the stack, then the end of what it has printed

py-spy reads another process's memory. The same user may do that unless the kernel's Yama forbids it (each process of a
training allows it, see verl_plugin/beats); root and CAP_SYS_PTRACE always may. py-spy does not stop the process, so it
can also read one that is stopped. Reading /proc, a log or a program may itself hang, so threads do it that hold nobody.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from deepscaler.system.files import write_json
from deepscaler.system.memory import DAEMONS

PATIENCE = 10.0
"""Seconds that py-spy has to read one process."""

TOTAL = 20.0
"""Seconds that py-spy has for all processes; those that are left get no stack, but their state and their log."""

LEFT_BEHIND = 5.0
"""Seconds after TOTAL in which the last process must be done, or is left out."""

AT_ONCE = 4
"""Processes to read in parallel, because the machine may be busy and all should be read within seconds."""

TAIL = 4000
"""Bytes to keep from the end of each log."""

EXAMINED = "processes.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Holds one process as the kernel and py-spy see it."""

    pid: int
    name: str
    """Title of the process, without the method that it runs."""
    state: str
    """The kernel's letter: R runs, S sleeps, D waits for a disk, T is stopped, Z is dead."""
    waits_in: str
    """Kernel function in which it sleeps; empty if unknown."""
    stack: bool
    """True if py-spy could read it."""


def claim(folder: Path, host: str) -> bool:
    """Returns whether this process is the first one on its machine to examine it."""
    try:
        (folder / f".{host}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def examine(folder: Path, run: Path, attempt: int, hanging: Path | None = None) -> list[Seen]:
    """Records what each process of a run's attempt on this machine is doing, and returns the records.

    A launcher's Ray is examined, too. No log is read in the folder `hanging`, which does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + TOTAL
    left, seen = SimpleQueue[int](), list[Seen]()
    for pid in _to_examine(run, attempt):
        left.put(pid)

    def look() -> None:
        with suppress(Empty):
            while True:
                pid = left.get_nowait()
                with suppress(OSError):
                    seen.append(_look_at(pid, folder, deadline, hanging))

    # Not an executor's threads: Python waits for those at its end, and one of them may hang for ever.
    threads = [Thread(target=look, name="examines a process", daemon=True) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline + LEFT_BEHIND - time.monotonic()))
    found = sorted(seen, key=lambda one: one.pid)
    write_json(folder / EXAMINED, [asdict(one) for one in found])
    return found


def read_examined(folder: Path) -> list[Seen]:
    """Returns the records of a machine; empty if there are none."""
    with suppress(OSError, ValueError, TypeError):
        return [Seen(**one) for one in json.loads((folder / EXAMINED).read_text(encoding="utf-8"))]
    return []


def processes_of(run: Path, attempt: int | None = None) -> list[int]:
    """Returns the processes on this machine that a run, or one attempt, started, recognized by their environment."""
    wanted = {f"DEEPSCALER_RUN_DIR={run}".encode()}
    if attempt is not None:
        wanted.add(f"DEEPSCALER_ATTEMPT={attempt}".encode())
    found = []
    # A process was started with this; what it sets for itself later shows in its children alone.
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted <= set(path.read_bytes().split(b"\0")):
                found.append(int(path.parent.name))
    return sorted(found)


def _to_examine(run: Path, attempt: int) -> list[int]:
    """Returns an attempt's processes, and the daemons of its Ray if a launcher has started that before the run."""
    found = processes_of(run, attempt)
    if any(_daemon(pid) for pid in found):
        return found
    daemons = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _daemon(int(path.name))]
    return sorted({*found, *(pid for pid in daemons if _is_launchers(pid))})


def _daemon(pid: int) -> bool:
    return _read(f"/proc/{pid}/comm").strip() in DAEMONS


def _is_launchers(pid: int) -> bool:
    """Returns whether a process is this user's, and was started by no run: that of another run is not to blame."""
    with suppress(OSError):
        folder = Path(f"/proc/{pid}")
        return folder.stat().st_uid == os.getuid() and b"DEEPSCALER_RUN_DIR=" not in (folder / "environ").read_bytes()
    return False


def _look_at(pid: int, folder: Path, deadline: float, hanging: Path | None) -> Seen:
    name = _title(pid)
    seen = Seen(pid=pid, name=name, state=state_of(pid), waits_in=_read(f"/proc/{pid}/wchan"), stack=False)
    # A job starts the environment's Python by its path, so its folder need not be in PATH.
    python = shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    seconds = min(PATIENCE, deadline - time.monotonic())
    stack = "py-spy is not installed\n" if not python else "no time was left for py-spy\n"
    if python and seconds > 0:
        command = [python, "dump", "--nonblocking", "--pid", str(pid)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
            stack = done.stdout or done.stderr
            seen = replace(seen, stack=done.returncode == 0)
        except (subprocess.TimeoutExpired, OSError) as error:
            stack = f"{error}\n"
    logs = "".join(f"\n== the end of {path}\n{_tail(path)}" for path in _outputs(pid, hanging))
    head = f"{name}, process {pid}, state {seen.state}, waits in {seen.waits_in or '?'}\n\n"
    label = re.sub(r"[^\w-]+", "", name.removeprefix("ray::"))[:40] or "process"
    (folder / f"{label}-{pid}.txt").write_text(f"{head}{stack}{logs}", encoding="utf-8")
    return seen


def state_of(pid: int) -> str:
    """Returns the kernel's letter for a process's state; empty if there is no such process."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].strip()[:1]


def _title(pid: int) -> str:
    words = _read(f"/proc/{pid}/cmdline").split("\0")
    if words[0].startswith(("ray::", "VLLM::")):
        return words[0].partition(".")[0].partition("(")[0].strip()
    names = [Path(word).name for word in words if word and not word.startswith("-")]
    return next((name for name in names if not name.startswith("python")), "?")


def _outputs(pid: int, hanging: Path | None) -> Iterator[Path]:
    """Yields the files that a process prints to, each once, but for those in a folder that does not answer."""
    found = []
    for number in (1, 2):
        with suppress(OSError):
            path = Path(f"/proc/{pid}/fd/{number}").readlink()
            if hanging and path.is_relative_to(hanging):
                continue
            if path.is_file() and path not in found:
                found.append(path)
                yield path


def _tail(path: Path) -> str:
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read().decode(errors="replace")
    return ""


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    return ""
