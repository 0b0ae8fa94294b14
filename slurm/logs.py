"""The files of a job's newest attempt as one stream: `node1 | 12:00:01 joining 10.0.0.1:20017`."""

import time
from pathlib import Path

from deepscaler.output.tail import Tail
from deepscaler.system.errors import UserError, unknown
from slurm.cluster import live_jobs
from slurm.job_folder import JobAttempt, JobFolder
from slurm.jobs import read_jobs

POLL = 1.0
ASK_EVERY = 10.0
"""Seconds between two questions to SLURM whether the job lives."""


def show_logs(run_folder: Path, job_id: str | None, num_lines: int, *, follow: bool) -> int:
    """Print what is there, then what comes, through every new attempt, until SLURM has done with the job."""
    job_id = job_id or _newest_job(run_folder)
    tail = Tail(num_lines)
    told: JobAttempt | None = None
    asked = time.monotonic()
    while True:
        attempts = _attempts(run_folder, job_id)
        attempt = attempts[-1] if attempts else None
        if attempt and attempt != told:
            print(f"== job {job_id}, {attempt.root.name}: {attempt.root}", flush=True)
            told = attempt
        if attempt:
            for path in sorted(attempt.root.glob("*.log")):
                tail.show(path, path.stem)
        if not follow:
            return 0
        if time.monotonic() - asked > ASK_EVERY:
            asked = time.monotonic()
            if not live_jobs([job_id]):
                return 0
        time.sleep(POLL)


def _newest_job(run_folder: Path) -> str:
    """The job, or element of an array, whose attempt began last."""
    jobs = read_jobs(run_folder)
    if not jobs:
        raise UserError(f"{run_folder} has no SLURM jobs; give the --output-dir of what was submitted")
    begun = [
        (attempt.stat().st_mtime, job_id)
        for job in jobs
        for job_id, folder in job.folders(run_folder).items()
        for attempt in folder.glob("attempt-[0-9]*")
    ]
    return max(begun)[1] if begun else jobs[-1].job_id


def _attempts(run_folder: Path, job_id: str) -> list[JobAttempt]:
    folders = {number: folder for job in read_jobs(run_folder) for number, folder in job.folders(run_folder).items()}
    if job_id not in folders:
        raise unknown("job", job_id, folders)
    return JobFolder(folders[job_id]).attempts()
