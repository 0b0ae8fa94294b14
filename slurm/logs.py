"""Shows the files of a job's newest attempt as one stream: `node1 | 12:00:01 joining 10.0.0.1:20017`."""

import sys
import time
from pathlib import Path

from deepscaler.output.tail import Tail
from deepscaler.system.errors import UserError, unknown
from slurm.cluster import live_jobs
from slurm.job_folder import JobAttempt, JobFolder
from slurm.jobs import read_jobs, with_successors

POLL = 1.0
ASK_EVERY = 10.0
"""Seconds between two questions to SLURM whether the job lives."""


def show_logs(run_folder: Path, job_id: str | None, num_lines: int, *, follow: bool) -> int:
    """Prints what is there, then what comes, through every new attempt, until SLURM has finished the job."""
    job_id = job_id or _newest_job(run_folder, lives=follow)
    tail = Tail(num_lines)
    told: JobAttempt | None = None
    asked, said = time.monotonic(), ""
    while True:
        attempts = _attempts(run_folder, job_id)
        attempt = attempts[-1] if attempts else None
        # A requeued job writes to a new folder, so following one file would end with the first attempt.
        if attempt and attempt != told:
            print(f"== job {job_id}, {attempt.root.name}: {attempt.root}", flush=True)
            told = attempt
        if attempt:
            for path in sorted(attempt.root.glob("*.log")):
                tail.show(path, path.stem)
        if not follow:
            return 0
        if time.monotonic() - asked > ASK_EVERY or not (attempt or said):
            asked = time.monotonic()
            # A successor has another number and the same folder. The numbers are read each time: one is queued
            # while this follows.
            live = live_jobs(_numbers_of_folder(run_folder, job_id))
            if not live:
                follow = False  # it may have written its last lines meanwhile
                continue
            state = next(iter(live.values()))
            why = f" ({state.reason})" if state.reason != "None" else ""
            waits = f"waiting: job {job_id} is {state.state}{why}"
            if not attempt and waits != said:
                said = waits
                print(waits, file=sys.stderr, flush=True)
        time.sleep(POLL)


def _newest_job(run_folder: Path, *, lives: bool) -> str:
    """Returns the job, or the element of an array, whose attempt began last; of those that live if there are any."""
    jobs = read_jobs(run_folder)
    if not jobs:
        raise UserError(f"{run_folder} has no SLURM jobs; give the --output-dir of what was submitted")
    folders = {job_id: folder for job in jobs for job_id, folder in job.folders(run_folder).items()}
    # Right after a submission the newest attempt is that of a job that has ended: the new ones wait in the queue.
    living = _live_folders(run_folder) if lives else set()
    chosen = {job_id: folder for job_id, folder in folders.items() if not living or folder in living}
    begun = [
        (attempt.stat().st_mtime, job_id)
        for job_id, folder in chosen.items()
        for attempt in folder.glob("attempt-[0-9]*")
    ]
    return max(begun)[1] if begun else next(iter(chosen)) if living else jobs[-1].job_id


def _live_folders(run_folder: Path) -> set[Path]:
    """Returns the folders of jobs that SLURM has still; none where it does not answer."""
    folders = _folders(run_folder)
    try:
        return {folders[number] for number in live_jobs(folders) if number in folders}
    except UserError:
        return set()


def _folders(run_folder: Path) -> dict[str, Path]:
    """Returns the folder of every job, element of an array and successor, by its number."""
    jobs = with_successors(run_folder, read_jobs(run_folder))
    return {number: folder for job in jobs for number, folder in job.folders(run_folder).items()}


def _numbers_of_folder(run_folder: Path, job_id: str) -> list[str]:
    """Returns the numbers of a job and of its successors."""
    folders = _folders(run_folder)
    return [number for number, folder in folders.items() if folder == folders[job_id]]


def _attempts(run_folder: Path, job_id: str) -> list[JobAttempt]:
    folders = _folders(run_folder)
    if job_id not in folders:
        raise unknown("job", job_id, folders)
    return JobFolder(folders[job_id]).attempts()
