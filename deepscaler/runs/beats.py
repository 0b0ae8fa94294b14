"""Reads the signs of life of every process of verl, on every machine, from a folder that all of them see.

attempts/0003/beats/node2-4711.json  {"beat": 12, "role": "reward worker", "name": "reward_loop_worker_0", "rank": "",
                                      "host": "node2", "pid": 4711, "doing": [["reward", 3.1]], "done": 128}

Clocks are not compared: who reads counts how long a beat does not change.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from deepscaler.runs.folder import Attempt

TRAINER, MODEL = "trainer", "model worker"

ROLES = {
    "TaskRunnerV1": TRAINER,
    "WorkerDict": MODEL,
    "RewardLoopWorker": "reward worker",
    "RolloutServer": "rollout worker",
    "vLLMHttpServer": "rollout worker",
    "AgentLoopWorkerTQ": "agent loop",
    "AgentLoopWorker": "agent loop",
    "TransferQueueController": "transfer queue",
    "SimpleStorageUnit": "transfer queue's storage",
    "GlobalRequestLoadBalancer": "load balancer",
    "TurnRouter": "load balancer",
}
"""Classes of verl's actors, as processes are named after them, and what people call them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Last sign of life of a process."""

    beat: int
    role: str
    host: str
    pid: int
    name: str = ""
    """Name of the actor; empty if Ray has none."""
    rank: str = ""
    doing: tuple[tuple[str, float], ...] = ()
    """Calls in flight, and the age of the oldest in seconds."""
    done: int = 0

    def __str__(self) -> str:
        """Returns who it is: `the model worker of rank 3 on node2 (pid 4711)`."""
        which = f" of rank {self.rank}" if self.rank else f" {self.name}" if self.name else ""
        return f"the {self.role}{which} on {self.host} (pid {self.pid})"


def beats_folder(attempt: Attempt) -> Path:
    """Returns the folder of an attempt's signs of life."""
    return attempt.root / "beats"


def stalls_folder(attempt: Attempt) -> Path:
    """Returns the folder that holds one folder for each time that an attempt stood still."""
    return attempt.root / "stalls"


def num_stalls(attempt: Attempt) -> int:
    """Returns how often an attempt has stood still."""
    return sum(1 for _ in stalls_folder(attempt).glob("[0-9]*"))


def read_stalls(attempt: Attempt) -> Iterator[tuple[str, int, float]]:
    """Yields each stall of an attempt: phase and step that the trainer had last named, and the seconds when noticed."""
    for path in sorted(stalls_folder(attempt).glob("*/silence.json")):
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            silence = json.loads(path.read_text(encoding="utf-8"))
            moment = silence["moment"]
            yield str(moment["phase"]), int(moment["step"]), float(silence["seconds"])


def read_beats(attempt: Attempt) -> Iterator[Beat]:
    """Yields what every process last said; a file that is being written is left out."""
    for path in sorted(beats_folder(attempt).glob("*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            # The image of another machine may have an older or newer kit: fields that are unknown here are left out.
            values = json.loads(path.read_text(encoding="utf-8"))
            # JSON gives lists, and a frozen Beat is compared and kept by its fields.
            doing = tuple((str(what), float(seconds)) for what, seconds in values.pop("doing", ()))
            known = {one.name for one in fields(Beat)}
            yield Beat(doing=doing, **{name: value for name, value in values.items() if name in known})


def role_of(process_title: str) -> str:
    """Returns the role by a process's title: `ray::RewardLoopWorker.compute_score` is a reward worker."""
    # Ray titles a process by its class, then by the method that it runs: `ray::WorkerDict`, `ray::WorkerDict.update()`.
    title = process_title.removeprefix("ray::").partition(".")[0].partition("(")[0].strip()
    return ROLES.get(title, title)
