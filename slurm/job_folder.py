"""The folder of one SLURM job, on the file system that all its nodes share. Its number is ours: SLURM's may come again.

RUN/slurm/0002-train-16k/             submitit's files: what every node unpickles, the batch script, SLURM's own output
RUN/slurm/0002-train-16k/again        while it is there, a job that ends goes back into the queue
RUN/slurm/0002-train-16k/attempt-02/  the job's third start (SLURM_RESTART_COUNT 2)
    attempt.json                      {"progress": 40, "started": ..., "ended": ..., "code": 0, "reason": "..."}
    head.json                         {"address": "10.0.0.1:20017"}, once Ray's head answers
    joined.json                       {"node1": 8, "node2": 8}: GPUs that Ray knows of, by node
    over                              the command has ended: workers stop
    token                             Ray's, mode 0600; removed at the end
    node2.failed                      why a worker gave up
    node1.log  node1.ray.log          a node's own output, and that of its Ray
    driver.log                        of the command
RUN/slurm/0003-evaluate/7/            the same for an element of an array
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepscaler.system.files import read_json, write_json, write_text

SLURM = "slurm"
"""Below a run's folder."""


@dataclass(frozen=True, slots=True)
class JobAttempt:
    """One start of a job."""

    root: Path

    @property
    def head_path(self) -> Path:
        """Where Ray's head is."""
        return self.root / "head.json"

    @property
    def joined_path(self) -> Path:
        """Which nodes Ray knows of."""
        return self.root / "joined.json"

    @property
    def over_path(self) -> Path:
        """Tells the workers to stop."""
        return self.root / "over"

    @property
    def token_path(self) -> Path:
        """Ray's secret."""
        return self.root / "token"

    @property
    def record_path(self) -> Path:
        """How it began and ended."""
        return self.root / "attempt.json"

    def failed_path(self, node: str) -> Path:
        """Holds why a worker gave up."""
        return self.root / f"{node}.failed"

    def failures(self) -> str:
        """Why workers gave up, in words; empty where none did."""
        return "; ".join(path.read_text(encoding="utf-8") for path in sorted(self.root.glob("*.failed")))

    def log_path(self, name: str) -> Path:
        """Of a node, its Ray (`node1.ray`), or the command (`driver`)."""
        return self.root / f"{name}.log"

    def read(self, path: Path) -> dict[str, Any]:
        """A JSON file that another node writes; empty where it is not there yet."""
        try:
            return read_json(path) if path.is_file() else {}
        except OSError:
            return {}

    def update_record(self, **changes: Any) -> None:
        """Add to the record."""
        write_json(self.record_path, {**self.read(self.record_path), **changes})


@dataclass(frozen=True, slots=True)
class JobFolder:
    """All starts of one job, or of one element of an array."""

    root: Path

    @property
    def again_path(self) -> Path:
        """Its presence puts the job back into the queue."""
        return self.root / "again"

    def attempt(self, number: int) -> JobAttempt:
        """One start, whether it exists or not."""
        return JobAttempt(self.root / f"attempt-{number:02}")

    def attempts(self) -> list[JobAttempt]:
        """All starts, the first first."""
        return [JobAttempt(path) for path in sorted(self.root.glob("attempt-[0-9]*"))]

    def last_record(self) -> dict[str, Any]:
        """How the newest start is, or ended; empty where none has begun."""
        attempts = self.attempts()
        return attempts[-1].read(attempts[-1].record_path) if attempts else {}

    def begin(self, number: int, progress: int) -> JobAttempt:
        """Make the folder of a start, and ask for another one should it die."""
        attempt = self.attempt(number)
        attempt.root.mkdir(parents=True, exist_ok=True)
        attempt.update_record(progress=progress, started=time.time())
        write_text(self.again_path, "")
        return attempt

    def end(self, attempt: JobAttempt, code: int, reason: str, *, again: bool) -> None:
        """Settle how a start ended."""
        attempt.update_record(ended=time.time(), code=code, reason=reason, again=again)
        if not again:
            self.again_path.unlink(missing_ok=True)

    def attempts_without_progress(self, number: int, progress: int) -> int:
        """Starts in a row before this one that began where this one does."""
        count = 0
        for earlier in reversed(self.attempts()):
            if earlier.root == self.attempt(number).root:
                continue
            if earlier.read(earlier.record_path).get("progress") != progress:
                break
            count += 1
        return count


def new_folder(run_folder: Path, name: str) -> Path:
    """The folder of the next job of a run; not made yet."""
    numbers = [int(path.name[:4]) for path in (run_folder / SLURM).glob("[0-9][0-9][0-9][0-9]-*")]
    return run_folder / SLURM / f"{max(numbers, default=0) + 1:04}-{name}"


def write_token(path: Path, token: str) -> None:
    """Readable by the user alone, and never half there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token)
    temporary.rename(path)


def read_joined(attempt: JobAttempt) -> dict[str, int]:
    """GPUs by node, as Ray's head counts them."""
    try:
        return {str(name): int(gpus) for name, gpus in json.loads(attempt.joined_path.read_text("utf-8")).items()}
    except (OSError, ValueError):
        return {}
