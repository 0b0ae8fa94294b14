"""Gives signs of life of this process of verl, and answers when the watcher asks where everything stands.

VERL_USE_EXTERNAL_MODULES=deepscaler.verl_plugin.beats      verl imports it wherever it is imported itself
worker_process_setup_hook=deepscaler.verl_plugin.begin.begin    begins it in workers of Ray that never import verl

A thread writes a small file every BEAT seconds, which needs no Ray: Ray may be what hangs. When a folder of a stall
appears, the process writes its own stack into it, and one process of each machine looks at all of them (system/stacks).
"""

import ctypes
import itertools
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deepscaler.runs.beats import MODEL, beats_folder, role_of, stalls_folder
from deepscaler.runs.folder import Attempt, own_attempt
from deepscaler.runs.phases import BEAT, phase_path
from deepscaler.system.stacks import claim, examine
from deepscaler.verl_plugin import phases

PR_SET_PTRACER, ANY_PROCESS = 0x59616D61, -1
"""Yama, where a kernel has it, lets a process be looked at by its parents alone, unless it says otherwise."""

IDLE = "IDLE"
"""Title of a worker that Ray may end at any time: nobody is to miss it."""

_doing: dict[int, tuple[str, float]] = {}
_numbers = itertools.count()
_num_done = 0
_begun = threading.Lock()


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Lets the watcher know that something is in flight here, and since when."""
    global _num_done  # noqa: PLW0603  of the whole process
    number = next(_numbers)
    _doing[number] = (what, time.monotonic())
    try:
        yield
    finally:
        del _doing[number]
        _num_done += 1


def begin() -> None:
    """Starts the signs of life, once a process; does nothing in a process that belongs to no attempt."""
    if (own := own_attempt()) and _begun.acquire(blocking=False):
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY_PROCESS, 0, 0, 0)
        threading.Thread(target=_live, args=(own[1],), name="beats", daemon=True).start()


def _live(attempt: Attempt) -> None:
    host, pid = socket.gethostname(), os.getpid()
    path = beats_folder(attempt) / f"{host}-{pid}.json"
    next_stall, written = 1, False
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
    for beat in itertools.count():
        # Of any kind, such as RuntimeError where the machine has no room for a thread: a process without signs of life
        # would be called stopped, and a trainer's phase would stand still.
        with suppress(Exception):
            # Nothing more than this: a thousand processes do it every two seconds in one folder of a shared disk.
            if (who := _who())["role"] != IDLE:
                _write(path, {"beat": beat, "host": host, "pid": pid, **who, **_what()})
                written = True
            elif written:
                path.unlink(missing_ok=True)
                written = False
            if phases.current:
                _write(phase_path(attempt), {"beat": beat, **phases.current.moment(), "ray": _of_ray("gcs_address")})
            # Numbers have no gaps, so a beat costs a shared file system one look at a name that is not there.
            while (stall := stalls_folder(attempt) / str(next_stall)).is_dir():
                next_stall += 1
                _answer(stall, host, attempt)
        time.sleep(BEAT)


def _write(path: Path, values: dict[str, Any]) -> None:
    """Replaces a small file; it need not survive a power cut, and a reader never sees half of it."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(values), encoding="utf-8")
    temporary.replace(path)


def _who() -> dict[str, Any]:
    """Returns the role by the process's title, which Ray sets, and what else tells this process from its like."""
    # Read each time: Ray changes the title when an actor is placed in a process that was waiting for one.
    title = Path("/proc/self/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    role = role_of(title) if title.startswith(("ray::", "VLLM::")) else "driver"
    return {
        "role": role,
        "name": _of_ray("get_actor_name"),
        "rank": os.environ.get("RANK", "") if role == MODEL else "",
    }


def _what() -> dict[str, Any]:
    oldest: dict[str, float] = {}
    # A copy, because calls begin and end in other threads, and a dict that changes cannot be walked through.
    for what, since in list(_doing.values()):
        oldest[what] = max(oldest.get(what, 0.0), time.monotonic() - since)
    return {"doing": [[what, round(seconds, 1)] for what, seconds in oldest.items()], "done": _num_done}


def _of_ray(what: str) -> str:
    """Returns what Ray knows of this worker; asked in a process that is none yet, Ray would start a cluster."""
    ray = sys.modules.get("ray")
    with suppress(Exception):  # Ray may be anything: not there yet, or going
        # sys.modules instead of an import: a process that does not use Ray must not pay for it, or start one.
        if ray and ray.is_initialized() and _is_worker(ray):
            found = getattr(ray.get_runtime_context(), what)
            return str((found() if callable(found) else found) or "")
    return ""


def _is_worker(ray: Any) -> bool:
    return bool(ray._private.worker.global_worker.mode == ray._private.worker.WORKER_MODE)


def _answer(stall: Path, host: str, attempt: Attempt) -> None:
    """Writes this process's own stack, and looks at all of this machine unless another process does."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = []
    for ident, frame in sys._current_frames().items():
        lines += [f"\nThread {names.get(ident, ident)!r}\n", *traceback.format_stack(frame)]
    # Python's own view, too: py-spy may be missing here, or forbidden by the kernel.
    own = stall / "own" / f"{host}-{os.getpid()}.txt"
    own.parent.mkdir(exist_ok=True)
    own.write_text("".join(lines), encoding="utf-8")
    if claim(stall, host):
        examine(stall / host, attempt.root.parents[1], attempt.number)


begin()
