"""Submits the jobs of a run, or prints what would be submitted."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from deepscaler.launch.launcher import PlannedJob
from deepscaler.system.errors import UserError
from deepscaler.system.files import remove_tree
from slurm.cluster import UnreachableError, cancel, test_submission
from slurm.job_folder import JobFolder, new_folder
from slurm.jobs import record, submitting
from slurm.site import Site
from slurm.submit.preflight import check_before
from slurm.submit.script import Submission, node_task
from slurm.submit.successor import lost_requeue, settled, wait_for_either


def launch(plan: Sequence[PlannedJob], site: Site, run_folder: Path, console: Console) -> int:
    """Submits a plan in order. Raises UserError before anything is submitted if SLURM would refuse a part of it."""
    given, site = site, settled(site)
    check_before([job for planned in plan for job in planned.jobs], site, run_folder)
    with submitting(run_folder) as jobs:
        ask_slurm([_submission(one, site, run_folder, ()) for one in plan], console)
        ids: list[str] = []
        folders: list[JobFolder] = []
        for planned in plan:
            after = (ids[planned.after],) if planned.after is not None else ()
            try:
                submission = _submission(planned, site, run_folder, after)
                job_id = submission.submit()
                if not ids and site.requeue == "always" and lost_requeue(job_id):
                    console.print("This cluster takes --requeue away from jobs.", soft_wrap=True)
                    cancel([job_id])
                    remove_tree(submission.folder)
                    site = settled(replace(given, requeue="never"))
                    submission = _submission(planned, site, run_folder, after)
                    job_id = submission.submit()
            except UserError:
                cancel(ids)  # a part of a plan is of no use
                raise
            record(run_folder, jobs, job_id, submission.folder, after=after, num_elements=len(planned.jobs))
            if planned.after is not None:
                wait_for_either(job_id, ids[planned.after], folders[planned.after])
            ids.append(job_id)
            folders.append(JobFolder(submission.folder))
            waits = f", after {after[0]}" if after else ""
            console.print(f"Submitted {_name(planned)} as job {job_id}: {_size(planned)}{waits}.", soft_wrap=True)
    _tell_of_successors(site, console)
    console.print(f"Watch: deepscaler status {run_folder}; deepscaler logs {run_folder} --follow", soft_wrap=True)
    return 0


def describe(plan: Sequence[PlannedJob], site: Site, run_folder: Path, console: Console, *, scripts: bool) -> int:
    """Prints a line a job, with `scripts` its batch script; then runs the preflight. Raises UserError."""
    site = settled(site)
    for planned in plan:
        waits = f"after {_name(plan[planned.after])}" if planned.after is not None else "at once"
        size = f"{_size(planned)}, {site.time_limit}, {waits}"
        more = f"  # and {len(planned.jobs) - 1} more" if len(planned.jobs) > 1 else ""
        console.print(f"{_name(planned)}: {size}: {planned.jobs[0].command_line}{more}", soft_wrap=True)
        if scripts:
            for job in planned.jobs[1:]:
                console.print(f"  {job.command_line}", soft_wrap=True)
            submission = _submission(planned, site, run_folder, ("JOB_ID",) if planned.after is not None else ())
            console.print(submission.script(), soft_wrap=True)
    _tell_of_successors(site, console)
    check_before([job for planned in plan for job in planned.jobs], site, run_folder, dry_run=True)
    try:
        ask_slurm([_submission(one, site, run_folder, ()) for one in plan], console)
        answer = "and SLURM would take the jobs"
    except UnreachableError as reason:
        answer = f"but SLURM was not asked: {reason}"
    console.print(f"The preflight found nothing wrong, {answer}. Nothing was submitted.", soft_wrap=True)
    return 0


def ask_slurm(submissions: Sequence[Submission], console: Console) -> None:
    """Prints what SLURM says of jobs that it would take. Raises UserError for one that it would refuse."""
    notes = [test_submission(submission.script(), submission.site.partition) for submission in submissions]
    for note in sorted({note for note in notes if note}):
        console.print(f"Note: {note}", style="yellow", soft_wrap=True)


def _submission(planned: PlannedJob, site: Site, run_folder: Path, after: tuple[str, ...]) -> Submission:
    if len(planned.jobs) > 1:  # elements have no successors: each would have to give the gather job of its own
        site = replace(site, successor="never")
    folder = new_folder(run_folder, _name(planned))
    folders = [folder] if len(planned.jobs) == 1 else [folder / str(element) for element in range(len(planned.jobs))]
    tasks = tuple(
        node_task(job, site, own, output)
        for job, own, output in zip(planned.jobs, folders, planned.outputs, strict=True)
    )
    return Submission(job=planned.jobs[0], tasks=tasks, site=site, run_folder=run_folder, folder=folder, after=after)


def _tell_of_successors(site: Site, console: Console) -> None:
    if site.has_successors:
        console.print(
            "When a job begins it queues a successor, which takes over should SLURM end it; one waits at a time.",
            soft_wrap=True,
        )


def _name(planned: PlannedJob) -> str:
    return planned.name or planned.jobs[0].name


def _size(planned: PlannedJob) -> str:
    job = planned.jobs[0]
    elements = f"{len(planned.jobs)} elements of " if len(planned.jobs) > 1 else ""
    return f"{elements}{job.num_nodes} x {job.gpus_per_node} GPUs"
