"""`deepscaler doctor` on nodes of the cluster: one short job, in which they examine themselves and each other."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from deepscaler.doctor.finding import Finding
from deepscaler.doctor.judge import MOST_TRIES, Report, among_flags, bad_nodes, judge, last_report
from deepscaler.doctor.table import conclude, conclude_earlier
from deepscaler.job import Job
from deepscaler.launch.launcher import Examination, PlannedJob
from deepscaler.output.terminal import printable
from deepscaler.system.errors import UserError
from slurm.cluster import ask, cancel, live_jobs
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

MEET = "meet"
"""Folder below the job's, in which its nodes find each other."""


def examine_nodes(asked: Examination, site: Site, run_folder: Path, console: Console) -> int:
    """Submits, waits, prints. Returns 1 where a node has a finding or is silent. Raises UserError after some minutes.

    With `exclude_slow` bad nodes are left out and others examined, as long as there are idle ones.
    """
    site = _short(site)
    quiet = Console(quiet=True) if asked.as_json else console
    num_nodes = asked.job.num_nodes
    without: list[str] = []
    found: dict[str, list[Finding]] = {}
    for left in reversed(range(MOST_TRIES)):
        try:
            nodes, attempt = _examine(asked, site, run_folder, quiet)
        except (UserError, KeyboardInterrupt) as error:
            # With nodes left out, others were perhaps faster to take the idle ones.
            return conclude_earlier(error, without, found, num_nodes, console, as_json=asked.as_json)
        reports = read_reports(attempt)
        _print_others(attempt, reports, quiet)
        found = judge(reports, nodes, num_nodes)
        bad = bad_nodes(found)
        spare = _num_idle(site, [*nodes, *_excluded(site)])
        again = asked.exclude_slow and bad and left and spare >= len(bad)
        # With --json exactly one document may be printed, that of the last try.
        code = conclude(found, num_nodes, quiet if again else console, as_json=asked.as_json and not again)
        if bad:
            excluded = ",".join(filter(None, (site.exclude, *bad)))
            quiet.print(f'To leave them out: exclude = "{excluded}" in the site file.', soft_wrap=True)
        if not again:
            if asked.exclude_slow and bad:
                quiet.print(f"{spare} other nodes are idle, {len(bad)} are needed.")
            return code
        site = replace(site, exclude=excluded)
        without += bad
        quiet.print(f"Examining {num_nodes} nodes without {', '.join(bad)}.", soft_wrap=True)
    raise AssertionError("the last try returns")


def describe_examination(job: Job, site: Site, run_folder: Path, console: Console, *, scripts: bool) -> int:
    """Prints the job, or its whole batch script, and checks what a submission would."""
    return describe(
        [PlannedJob(jobs=(job,), outputs=(run_folder,))], _short(site), run_folder, console, scripts=scripts
    )


def read_reports(attempt: JobAttempt) -> list[Report]:
    """Returns the report that each node has printed last, of those that came so far."""
    found = []
    for log in sorted(attempt.root.glob("*.log")):
        if report := last_report(log.read_text(encoding="utf-8", errors="replace").splitlines()):
            found.append(report)
    return found


def _examine(asked: Examination, site: Site, run_folder: Path, console: Console) -> tuple[list[str], JobAttempt]:
    """Returns the nodes of a job and what they wrote, once it has ended."""
    job = asked.job
    check_before([job], site, run_folder)
    submission = _submission(job, site, run_folder)
    with submitting(run_folder) as jobs:
        ask_slurm([submission], console)
        job_id = submission.submit()
        record(run_folder, jobs, job_id, submission.folder)
    console.print(f"Job {job_id} examines {job.num_nodes} nodes.")
    return _wait(job_id, console, asked.minutes), JobFolder(submission.folder).attempt(0)


def _short(site: Site) -> Site:
    """Returns the site with what a short job needs."""
    # A warning must be at most half of the limit, and a site's may be an hour.
    return replace(site, time_limit=NUM_MINUTES, warning_seconds=60, requeue="never", successor="never")


def _submission(job: Job, site: Site, run_folder: Path) -> Submission:
    folder = new_folder(run_folder, job.name)
    among = among_flags(str(run_folder), str(folder / MEET), job.num_nodes)
    job = replace(job, arguments=(*job.arguments, *among))
    task = replace(node_task(job, site, folder, run_folder), everywhere=True)
    return Submission(job=job, tasks=(task,), site=site, run_folder=run_folder, folder=folder)


def _wait(job_id: str, console: Console, minutes: float) -> list[str]:
    """Waits until SLURM has done with the job, and returns its nodes; cancels it if that takes too long."""
    started = said = time.monotonic()
    nodes: list[str] = []
    while live := live_jobs([job_id]):
        now = time.monotonic()
        state = live[job_id]
        if state.nodes and not nodes:  # later those that died are missing in it
            nodes = ask("scontrol", "show", "hostnames", state.nodes, check=False).split()
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
    return nodes


def _print_others(attempt: JobAttempt, reports: Sequence[Report], console: Console) -> None:
    """Prints what nodes said that have no report: why their command ended."""
    told = {str(report["node"]) for report in reports}
    for log in sorted(attempt.root.glob("*.log")):
        if log.stem not in told:
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]:
                console.print(printable(f"{log.stem}: {line}"), soft_wrap=True)


def _num_idle(site: Site, without: Sequence[str]) -> int:
    """Returns the number of idle nodes of the site's partition, but for some."""
    where = ["--partition", site.partition] if site.partition else []
    told = ask("sinfo", "--noheader", "--Node", "--states", "idle", *where, "--format", "%N", check=False)
    # --Node prints a line for every partition that a node is in: a set counts it once.
    return len(set(told.split()) - set(without))


def _excluded(site: Site) -> list[str]:
    """Returns the nodes that a site avoids, one by one."""
    # `exclude` may say node[1-4,7], which only SLURM takes apart as SLURM does.
    return ask("scontrol", "show", "hostnames", site.exclude, check=False).split() if site.exclude else []
