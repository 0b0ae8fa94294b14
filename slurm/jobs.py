"""Which jobs a run was given, and how each is: RUN/slurm/jobs.json, SLURM, and what the jobs left on disk.

jobs.json  [{"job_id": "4711", "name": "train-8k", "folder": "0001-train-8k", "after": [], "num_elements": 1, ...}, ...]
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepscaler.errors import UserError
from deepscaler.files import locked, write_json
from slurm.cluster import JobState, live_jobs, past_state
from slurm.job_folder import SLURM, JobAttempt


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedJob:
    """One entry of jobs.json."""

    job_id: str
    name: str
    folder: str
    """Below `slurm/`."""
    after: tuple[str, ...] = ()
    num_elements: int = 1
    submitted: float = 0.0

    def folders(self, run_folder: Path) -> dict[str, Path]:
        """The folder of the job, or of every element, by its number at SLURM."""
        root = run_folder / SLURM / self.folder
        if self.num_elements == 1:
            return {self.job_id: root}
        return {f"{self.job_id}_{element}": root / str(element) for element in range(self.num_elements)}

    def attempts(self, run_folder: Path) -> list[JobAttempt]:
        """Every start of the job or of its elements, the oldest first."""
        found = [path for root in self.folders(run_folder).values() for path in root.glob("attempt-[0-9]*")]
        return [JobAttempt(path) for path in sorted(found, key=lambda path: (path.name, path.parent.name))]


def read_jobs(run_folder: Path) -> list[SubmittedJob]:
    """Every job that was submitted for a run, the first first."""
    path = run_folder / SLURM / "jobs.json"
    if not path.is_file():
        return []
    try:
        return [
            SubmittedJob(**{**entry, "after": tuple(entry["after"])}) for entry in json.loads(path.read_text("utf-8"))
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is no list of jobs ({error}); remove it") from error


@contextmanager
def submitting(run_folder: Path) -> Iterator[list[SubmittedJob]]:
    """Be the only one to submit for a run; what is appended to the list is written at once, whatever comes after.

    Raises UserError where jobs of the run are still queued or running.
    """
    busy = UserError(f"another process is submitting jobs for {run_folder}; wait for it")
    with locked(run_folder / SLURM, busy):
        before = read_jobs(run_folder)
        if live := live_jobs([job.job_id for job in before]):
            told = ", ".join(sorted(f"{state.job_id} ({state.state})" for state in set(live.values())))
            raise UserError(
                f"{run_folder} has jobs already: {told}; watch them with `deepscaler status {run_folder}`, end them"
                f" with `deepscaler cancel {run_folder}`"
            )
        yield before


def record(run_folder: Path, jobs: list[SubmittedJob], job_id: str, folder: Path, **told: Any) -> None:
    """Write down a job that SLURM has just taken."""
    name = folder.name.partition("-")[2]
    jobs.append(SubmittedJob(job_id=job_id, name=name, folder=folder.name, submitted=time.time(), **told))
    write_json(run_folder / SLURM / "jobs.json", [asdict(entry) for entry in jobs])


def states(run_folder: Path) -> list[tuple[SubmittedJob, JobState]]:
    """Every job of a run with what is known of it now."""
    jobs = read_jobs(run_folder)
    live = live_jobs([job.job_id for job in jobs])
    return [(job, live.get(job.job_id) or _ended(run_folder, job)) for job in jobs]


def _ended(run_folder: Path, job: SubmittedJob) -> JobState:
    """Of a job that SLURM has done with: by its own words, else by the record that its last start left."""
    state, reason = past_state(job.job_id), ""
    attempts = job.attempts(run_folder)
    if attempts:
        told = attempts[-1].read(attempts[-1].record_path)
        reason = str(told.get("reason", ""))
        state = state or {0: "COMPLETED", None: "UNKNOWN"}.get(told.get("code"), "FAILED")
    return JobState(job.job_id, state or "UNKNOWN", reason, "", "", "")
