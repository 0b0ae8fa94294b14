"""Describes the folder of one SLURM job, on the file system that all its nodes share.

Its number is the kit's own: SLURM's repeats after a controller was set up again.

RUN/slurm/0002-train-16k/             submitit's files: what every node unpickles, the batch script, SLURM's own output
RUN/slurm/0002-train-16k/again        while it exists, work is left: the job is requeued, or its successor resumes
RUN/slurm/0002-train-16k/unstarted    a line for each start in a row that ended before the head began
RUN/slurm/0002-train-16k/successors   numbers of its successors at SLURM, a line each; they write to the same folder
RUN/slurm/0002-train-16k/attempt-02/  the job's third start (SLURM_RESTART_COUNT 2)
    attempt.json                      {"progress": 40, "started": ..., "ended": ..., "code": 0, "reason": "..."},
                                      with "by_slurm" if SLURM ended it before its time
    head.json                         {"address": "10.0.0.1:20017"}, once Ray's head answers
    joined.json                       {"node1": 8, "node2": 8}: GPUs that Ray knows of, by node
    over                              the command has ended: workers stop
    token                             Ray's, mode 0600; removed at the end
    node2.failed                      why a worker gave up
    node2.doctor.json                 what the doctor noted of a node before a training
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

from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json, text_of, write_json, write_text

SLURM = "slurm"
"""Folder of all jobs of a run, below the run's own."""

STARTS_OF_A_JOB = 1000
"""Numbers that the starts of one job may take: attempt-02 is its third, attempt-1002 that of its first successor."""


def start_number(successor: int, restart: int) -> int:
    """Returns the number of a start by what every node knows: a listing of a shared folder may be old on some."""
    return successor * STARTS_OF_A_JOB + restart


@dataclass(frozen=True, slots=True)
class JobAttempt:
    """One start of a job."""

    root: Path

    @property
    def head_path(self) -> Path:
        """Returns the file with the address of Ray's head."""
        return self.root / "head.json"

    @property
    def joined_path(self) -> Path:
        """Returns the file that lists the nodes that Ray knows of."""
        return self.root / "joined.json"

    @property
    def over_path(self) -> Path:
        """Asks the workers to stop."""
        return self.root / "over"

    @property
    def token_path(self) -> Path:
        """Returns the file with Ray's secret."""
        return self.root / "token"

    @property
    def record_path(self) -> Path:
        """Returns the file that says how the attempt began and ended."""
        return self.root / "attempt.json"

    def failed_path(self, node: str) -> Path:
        """Holds why a worker gave up."""
        return self.root / f"{node}.failed"

    def doctor_path(self, node: str) -> Path:
        """Holds what the doctor noted of a node before a training."""
        return self.root / f"{node}.doctor.json"

    def failures(self) -> str:
        """Returns why workers gave up, in words; empty if none did."""
        return "; ".join(text_of(path) or f"{path.stem}: gave up" for path in sorted(self.root.glob("*.failed")))

    def log_path(self, name: str) -> Path:
        """Returns the log of a node, of its Ray (`node1.ray`), or of the command (`driver`)."""
        return self.root / f"{name}.log"

    def read(self, path: Path) -> dict[str, Any]:
        """Returns a JSON file that another node writes; empty if it does not exist (yet). Raises UserError."""
        try:
            return read_json(path)
        except UserError as error:
            # Another node may remove or replace the file meanwhile, and NFS then knows the old handle no more (ESTALE).
            if isinstance(error.__cause__, OSError):
                return {}
            raise

    def update_record(self, **changes: Any) -> None:
        """Adds to the record."""
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
        """Returns one start, which may not exist yet."""
        return JobAttempt(self.root / f"attempt-{number:02}")

    def successors(self) -> list[str]:
        """Returns the numbers at SLURM of the jobs that were queued to resume after the first one, in order."""
        return text_of(self.root / "successors").split()

    def attempts(self, successor: int | None = None) -> list[JobAttempt]:
        """Returns all starts, the first first, or those of one successor alone (0 for the job that was submitted)."""
        by_number = {_number(path): JobAttempt(path) for path in self.root.glob("attempt-[0-9]*")}
        return [
            by_number[number]
            for number in sorted(by_number)
            if successor is None or number // STARTS_OF_A_JOB == successor
        ]

    def last_record(self, successor: int | None = None) -> dict[str, Any]:
        """Returns the record of the newest start; empty if none has begun."""
        attempts = self.attempts(successor)
        return attempts[-1].read(attempts[-1].record_path) if attempts else {}

    def begin(self, number: int, progress: int) -> JobAttempt:
        """Makes the folder of a start, and asks for another start in case it dies."""
        attempt = self.attempt(number)
        attempt.root.mkdir(parents=True, exist_ok=True)
        attempt.update_record(progress=progress, started=time.time())
        # After the record and before the command: from here on any death finds the request for another start.
        write_text(self.again_path, "")
        return attempt

    def end(self, attempt: JobAttempt, code: int, reason: str, *, again: bool, by_slurm: bool = False) -> None:
        """Records how a start ended, and whether that was SLURM's doing; asks for no other start unless `again`."""
        told = {"by_slurm": True} if by_slurm else {}
        attempt.update_record(ended=time.time(), code=code, reason=reason, again=again, **told)
        if not again:
            self.ask_no_more(attempt)

    def ask_no_more(self, attempt: JobAttempt) -> None:
        """Asks for no other start, unless a newer one is at work, which decides for itself."""
        # A node that SLURM lost sight of still runs its start, which the newer one fences off: that ends as bad input.
        # One that could not even write its record, as on a full disk, has only just begun.
        began = attempt.read(attempt.record_path).get("started", time.time())
        others = (other.read(other.record_path).get("started", 0.0) for other in self.attempts())
        if all(other <= began for other in others):
            self.again_path.unlink(missing_ok=True)

    def unended(self, number: int) -> list[JobAttempt]:
        """Returns the starts other than this one that have not said how they ended: killed, or out of SLURM's sight."""
        own = self.attempt(number).root
        return [one for one in self.attempts() if one.root != own and "ended" not in one.read(one.record_path)]

    def attempts_without_progress(self, number: int, progress: int) -> tuple[int, int]:
        """Counts the starts in a row before this one that began where this one does.

        Returns the number of those that ended by themselves, and of those that SLURM ended.
        """
        own = slurms = 0
        for earlier in reversed(self.attempts()):
            if earlier.root == self.attempt(number).root:
                continue
            record = earlier.read(earlier.record_path)
            # One without a record was killed before it could write one.
            if record.get("progress", progress) != progress:
                break
            # SLURM kills without a warning, too; but where a worker had failed, the kill came of that.
            if record.get("by_slurm") or ("code" not in record and not earlier.failures()):
                slurms += 1
            else:
                own += 1
        return own, slurms


def _number(attempt: Path) -> int:
    return int(attempt.name.partition("-")[2])


def new_folder(run_folder: Path, name: str) -> Path:
    """Returns the folder of the next job of a run, and does not make it."""
    # The highest number decides, not the first free one: a removed folder's number must not name a newer job.
    numbers = [int(path.name[:4]) for path in (run_folder / SLURM).glob("[0-9][0-9][0-9][0-9]-*")]
    return run_folder / SLURM / f"{max(numbers, default=0) + 1:04}-{name}"


def write_token(path: Path, token: str) -> None:
    """Writes Ray's token, readable by the user alone, in one rename."""
    # A worker begins as soon as the file is there: a plain write would let it read half a token. The mode is
    # given to open, because a chmod afterwards would leave a moment in which others can read.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token)
    temporary.rename(path)


def read_joined(attempt: JobAttempt) -> dict[str, int]:
    """Returns the number of GPUs by node, as Ray's head counts them."""
    try:
        return {str(name): int(gpus) for name, gpus in json.loads(attempt.joined_path.read_text("utf-8")).items()}
    except (OSError, ValueError):
        return {}
