"""Saves evidence when a training stalls, before anything is ended.

attempts/0003/stalls/1/sentence.txt       what the watcher says
attempts/0003/stalls/1/silence.json       phase, seconds, and each process with its silence
attempts/0003/stalls/1/own/node2-4711.txt the stack that a process wrote itself
attempts/0003/stalls/1/node2/...          what was found on a machine (see deepscaler.system.stacks)
attempts/0003/stalls/1/ray.json           Ray's nodes, actors and tasks, as its GCS has them
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import Popen

from deepscaler.runs.beats import num_stalls, stalls_folder
from deepscaler.runs.folder import Attempt
from deepscaler.runs.phases import BEAT
from deepscaler.system import processes
from deepscaler.system.files import read_json, write_json
from deepscaler.system.stacks import EXAMINED, Seen, claim, examine, read_examined
from deepscaler.training.stalls.cause import SILENT, Silence
from deepscaler.training.stalls.ray_states import gone, unreachable

PATIENCE = 30.0
"""Seconds for all machines to be looked at, and for Ray, which may be what hangs, to answer."""

ANSWER = 4 * BEAT
"""Seconds for the living processes to write their own stacks; they look for a request with each sign of life."""

POLL = 0.5
RAY = "ray.json"
SENTENCE = "sentence.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A folder, and what was seen on each machine that answered."""

    folder: Path
    seen: dict[str, list[Seen]]
    unreachable: list[str]
    """Nodes of Ray that do not answer on the network."""
    gone: list[str]
    """Actors that Ray has seen die."""


def collect(attempt: Attempt, silence: Silence, environment: Mapping[str, str]) -> Evidence:
    """Asks all processes of an attempt for their stacks, looks at this machine, and asks Ray; returns what came back.

    `environment` is that of the trainer's command, which knows how to speak to its Ray. Every wait is bounded, but a
    file system may hang: give the call a deadline.
    """
    folder = _new_folder(attempt)  # every process looks for it
    # First of all, because its process imports Ray for seconds while the others are looked at.
    begun, ray = time.monotonic(), _ask_ray(folder, silence.moment.ray, environment)
    own_host, run = os.uname().nodename, attempt.root.parents[1]
    hosts = {own_host, *(beat.host for beat, _ in silence.beats)}
    # Any process of the run on this machine may have been faster, and then writes the same files.
    if claim(folder, own_host):
        arguments = (folder / own_host, run, attempt.number)
        # Not an executor's thread: its end would wait for one that hangs.
        threading.Thread(target=_examine, args=arguments, name="stall watcher's eyes", daemon=True).start()
    told = [{**asdict(beat), "silent_seconds": round(seconds, 1)} for beat, seconds in silence.beats]
    write_json(folder / "silence.json", {**asdict(silence), "beats": told})
    _wait(PATIENCE, lambda: all(_is_examined(folder, host) for host in hosts))
    # Only living processes can write their own stack; waiting for a silent one would take all the patience.
    alive = {f"{beat.host}-{beat.pid}.txt" for beat, seconds in silence.beats if seconds < SILENT}
    _wait(ANSWER, lambda: alive <= {path.name for path in (folder / "own").glob("*")})
    if ray:
        _wait(begun + PATIENCE - time.monotonic(), lambda: ray.poll() is not None)
        processes.end(ray, 1.0)
    seen = {host: read_examined(folder / host) for host in hosts if _is_examined(folder, host)}
    states = read_json(folder / RAY) if (folder / RAY).is_file() else {}
    return Evidence(folder=folder, seen=seen, unreachable=unreachable(states), gone=gone(states))


def write_down(attempt: Attempt, silence: Silence, sentence: str) -> None:
    """Writes down a stall that is over and needs no evidence any more."""
    folder = _new_folder(attempt)
    write_json(folder / "silence.json", {**asdict(silence), "beats": []})
    write_sentence(folder, sentence)


def write_sentence(folder: Path, sentence: str) -> None:
    """Writes what people read first."""
    (folder / SENTENCE).write_text(f"{sentence}\n", encoding="utf-8")


def _examine(folder: Path, run: Path, attempt: int) -> None:
    with suppress(OSError, RuntimeError):  # then this machine is one that did not answer
        examine(folder, run, attempt)


def _new_folder(attempt: Attempt) -> Path:
    # By what is there, not by a count of stalls: processes look for the next number, and would never pass a gap.
    folder = stalls_folder(attempt) / str(num_stalls(attempt) + 1)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _wait(seconds: float, holds: Callable[[], bool]) -> None:
    """Waits until something holds, or for so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not holds():
        time.sleep(POLL)


def _is_examined(folder: Path, host: str) -> bool:
    return (folder / host / EXAMINED).is_file()


def _ask_ray(folder: Path, address: str, environment: Mapping[str, str]) -> "Popen[bytes] | None":
    """Starts to write down Ray's states; it is a process of its own, which can be ended if Ray does not answer."""
    if not address:
        return None
    command = processes.python_command("-m", "deepscaler.training.stalls.ray_states", address, str(folder / RAY))
    return processes.start(command, log=folder / "ray.log", environment=environment)
