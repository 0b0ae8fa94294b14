"""`deepscaler doctor` on nodes of the cluster: one short job, its findings printed by node."""

import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from deepscaler.job import Job
from deepscaler.launch.launcher import PlannedJob
from deepscaler.output.terminal import printable
from deepscaler.system.errors import UserError
from slurm.cluster import cancel, live_jobs
from slurm.job_folder import JobAttempt, JobFolder, new_folder
from slurm.jobs import record, submitting
from slurm.site import Site
from slurm.submit.launch import ask_slurm, describe
from slurm.submit.preflight import check_before
from slurm.submit.script import Submission, node_task

POLL = 2.0
SAY_EVERY = 30.0
NUM_MINUTES = "00:15:00"
"""Time limit of the job; imports from a cold shared file system take minutes."""


def examine_nodes(job: Job, site: Site, run_folder: Path, console: Console, *, minutes: float) -> int:
    """Submits, waits, prints. Returns 1 where a node has a finding or is silent. Raises UserError after `minutes`."""
    site = _short(site)
    check_before([job], site, run_folder)
    submission = _submission(job, site, run_folder)
    with submitting(run_folder) as jobs:
        ask_slurm([submission], console)
        job_id = submission.submit()
        record(run_folder, jobs, job_id, submission.folder)
    console.print(f"Job {job_id} asks {job.num_nodes} nodes what is missing there.")
    _wait(job_id, console, minutes)
    return _print_findings(JobFolder(submission.folder).attempt(0), job, console)


def describe_examination(job: Job, site: Site, run_folder: Path, console: Console, *, scripts: bool) -> int:
    """Prints the job, or its whole batch script, and checks what a submission would."""
    return describe(
        [PlannedJob(jobs=(job,), outputs=(run_folder,))], _short(site), run_folder, console, scripts=scripts
    )


def _short(site: Site) -> Site:
    return replace(site, time_limit=NUM_MINUTES, warning_seconds=60, requeue="never")


def _submission(job: Job, site: Site, run_folder: Path) -> Submission:
    folder = new_folder(run_folder, job.name)
    task = replace(node_task(job, site, folder, run_folder), everywhere=True)
    return Submission(job=job, tasks=(task,), site=site, run_folder=run_folder, folder=folder)


def _wait(job_id: str, console: Console, minutes: float) -> None:
    """Until SLURM has done with the job; the job is cancelled if that takes too long."""
    started = said = time.monotonic()
    while live := live_jobs([job_id]):
        now = time.monotonic()
        state = live[job_id]
        if now - started > 60 * minutes:
            cancel([job_id])
            raise UserError(
                f"job {job_id} is {state.state} ({state.reason}) after {minutes:g} minutes: cancelled;"
                " give it longer with --minutes"
            )
        if now - said > SAY_EVERY:
            said = now
            console.print(f"Job {job_id} is {state.state}{f' ({state.reason})' if state.reason != 'None' else ''}.")
        time.sleep(POLL)


def _print_findings(attempt: JobAttempt, job: Job, console: Console) -> int:
    logs = sorted(attempt.root.glob("*.log"))
    for log in logs:
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            console.print(printable(f"{log.stem}: {line}"), soft_wrap=True)
    failed = sorted(path.stem for path in attempt.root.glob("*.failed"))
    if len(logs) < job.num_nodes:
        console.print(f"Only {len(logs)} of {job.num_nodes} nodes said anything; see {attempt.root.parent}")
        return 1
    console.print(f"Something is missing on {', '.join(failed)}." if failed else "Nothing is missing on any node.")
    return 1 if failed else 0
