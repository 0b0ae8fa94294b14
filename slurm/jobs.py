"""Lists which jobs a run was given, and how each is: RUN/slurm/jobs.json, SLURM, and what the jobs left on disk.

jobs.json  [{"job_id": "4711", "name": "train-8k", "folder": "0001-train-8k", "after": [], "num_elements": 1, ...}, ...]
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from deepscaler.launch.launcher import JobState
from deepscaler.system.errors import UserError
from deepscaler.system.files import locked, reason, write_json
from slurm.cluster import live_jobs, live_jobs_of, past_state
from slurm.job_folder import SLURM, JobFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedJob:
    """One entry of jobs.json."""

    job_id: str
    name: str
    folder: str
    """Name of the job's folder below `slurm/`."""
    after: tuple[str, ...] = ()
    num_elements: int = 1
    submitted: float = 0.0
    successor: int = 0
    """Number of jobs with the same folder that came before it; those that a job queues itself are not in jobs.json."""

    @property
    def title(self) -> str:
        """Returns its name, and which successor it is."""
        return f"{self.name}, successor {self.successor}" if self.successor else self.name

    def folders(self, run_folder: Path) -> dict[str, Path]:
        """Returns the folder of the job, or of each element, by its number at SLURM."""
        root = run_folder / SLURM / self.folder
        if self.num_elements == 1:
            return {self.job_id: root}
        return {f"{self.job_id}_{element}": root / str(element) for element in range(self.num_elements)}


def read_jobs(run_folder: Path) -> list[SubmittedJob]:
    """Returns every job that was submitted for a run, in order."""
    path = run_folder / SLURM / "jobs.json"
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text("utf-8"))
        if not isinstance(entries, list):
            # A JSON object would iterate over its keys and fail with a message about texts.
            raise TypeError("it holds something else")
        return [SubmittedJob(**{**entry, "after": tuple(entry["after"])}) for entry in entries]
    # TypeError is an unknown or missing field, RecursionError is what json raises for deeply nested brackets.
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f"{path} is not a list of jobs ({reason(error)}); move it away and give `deepscaler cancel {run_folder}`,"
            " which finds the run's jobs without it"
        ) from error


def with_successors(run_folder: Path, jobs: Iterable[SubmittedJob]) -> list[SubmittedJob]:
    """Returns some jobs, each with the successors that it and they have queued."""
    found = []
    for job in jobs:
        numbers = JobFolder(run_folder / SLURM / job.folder).successors()
        later = (replace(job, job_id=job_id, successor=count) for count, job_id in enumerate(numbers, start=1))
        found += [job, *later]
    return found


def live_and_lost(run_folder: Path, known: list[SubmittedJob]) -> tuple[dict[str, str], list[str]]:
    """Returns the states of a run's queued and running jobs, and the numbers of those that its jobs.json has lost.

    The file was removed, or the whole folder was. SLURM is asked once.
    """
    ours = [job.job_id for job in with_successors(run_folder, known)]
    found = live_jobs_of(run_folder / SLURM, ours)
    return {job_id: found[job_id] for job_id in ours if job_id in found}, [one for one in found if one not in ours]


@contextmanager
def submitting(run_folder: Path) -> Iterator[list[SubmittedJob]]:
    """Yields the list of jobs to the only process that may submit for a run, and writes what is appended at once.

    Raises UserError if jobs of the run are still queued or running.
    """
    busy = UserError(f"another process is submitting jobs for {run_folder}; wait for it")
    with locked(run_folder / SLURM, busy):
        before = read_jobs(run_folder)
        # Asked under the lock: two commands that ask first would both find no job and both submit.
        live, lost = live_and_lost(run_folder, before)
        if live:
            told = ", ".join(f"{job_id} ({state})" for job_id, state in live.items())
            raise UserError(
                f"{run_folder} has jobs already: {told}; watch them with `deepscaler status {run_folder}`, end them"
                f" with `deepscaler cancel {run_folder}`"
            )
        if lost:
            raise UserError(
                f"SLURM has jobs of {run_folder} that are not written there (any more): {', '.join(lost)};"
                f" end them with `deepscaler cancel {run_folder}`"
            )
        yield before


def record(run_folder: Path, jobs: list[SubmittedJob], job_id: str, folder: Path, **told: Any) -> None:
    """Records a job that SLURM has just accepted."""
    name = folder.name.partition("-")[2]
    jobs.append(SubmittedJob(job_id=job_id, name=name, folder=folder.name, submitted=time.time(), **told))
    # After every job rather than at the end of a plan: whatever dies in between, `cancel` finds those that are
    # queued.
    write_json(run_folder / SLURM / "jobs.json", [asdict(entry) for entry in jobs])


def known_states(run_folder: Path) -> tuple[list[tuple[SubmittedJob, JobState]], str]:
    """Returns every job of a run as SLURM tells, and ""; or as its files tell, and why SLURM does not.

    A laptop that sees the file system has no SLURM, and a controller may be down.
    """
    jobs = with_successors(run_folder, read_jobs(run_folder))
    try:
        live = live_jobs([job.job_id for job in jobs])
        return [(job, _state(run_folder, job, live)) for job in jobs], ""
    except UserError as error:
        return [(job, _by_files(run_folder, job)) for job in jobs], str(error)


def _by_files(run_folder: Path, job: SubmittedJob) -> JobState:
    """Returns how the last start of a job was or ended, or that of its elements together."""
    records = _last_records(run_folder, job)
    if job.num_elements > 1:
        done = _num_done(records)
        state = "COMPLETED" if done == len(records) else "STARTED" if any(records) else "NOT STARTED"
        return JobState(job.job_id, state, f"{done} of {job.num_elements} done")
    (record,) = records
    state = "NOT STARTED" if not record else "STARTED"
    if "code" in record:
        state = "COMPLETED" if record["code"] == 0 else "REQUEUED" if record.get("again") else "FAILED"
    return JobState(job.job_id, state, str(record.get("reason", "")))


def _last_records(run_folder: Path, job: SubmittedJob) -> list[dict[str, Any]]:
    """Returns what the newest start of a job, or of each of its elements, has left."""
    return [JobFolder(folder).last_record(job.successor) for folder in job.folders(run_folder).values()]


def _num_done(records: list[dict[str, Any]]) -> int:
    return sum(record.get("code") == 0 for record in records)


def _state(run_folder: Path, job: SubmittedJob, live: dict[str, JobState]) -> JobState:
    if job.num_elements > 1:
        return _array(run_folder, job, live)
    state = live.get(job.job_id)
    if state and job.successor and state.reason == "Dependency":
        return replace(state, reason="takes over when the job before it ends")
    return state or _ended(run_folder, job)


def _array(run_folder: Path, job: SubmittedJob, live: dict[str, JobState]) -> JobState:
    """Returns how all elements are together: how many are in which state, and done."""
    left = [live[number] for number in job.folders(run_folder) if number in live]
    done = _num_done(_last_records(run_folder, job))
    told = f"{done} of {job.num_elements} done"
    if not left:
        return JobState(job.job_id, "COMPLETED" if done == job.num_elements else "INCOMPLETE", told)
    counts = Counter(state.state for state in left)
    state = next(iter(counts)) if len(counts) == 1 else ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
    nodes = ",".join(dict.fromkeys(one.nodes for one in left if one.nodes))
    waits = next((one.reason for one in left if one.state == "PENDING" and one.reason != "None"), "")
    # SLURM writes 9:59, 10:00, 1:00:00 and 1-00:00:00: longer texts are longer times, and equal lengths compare
    # as texts.
    longest = max(left, key=lambda one: (len(one.elapsed), one.elapsed))
    return JobState(job.job_id, state, f"{told}, {waits}" if waits else told, longest.elapsed, nodes)


def _ended(run_folder: Path, job: SubmittedJob) -> JobState:
    """Returns how a job ended that SLURM has done with: by its own words, else by what its last start has left."""
    state, (told,) = past_state(job.job_id), _last_records(run_folder, job)
    if told:
        state = state or {0: "COMPLETED", None: "UNKNOWN"}.get(told.get("code"), "FAILED")
    return JobState(job.job_id, state or "UNKNOWN", str(told.get("reason", "")))
