"""Keeps a head alive until the operator has seen how its command ended; without the dashboard it would not retry.

GET 127.0.0.1:8265/api/jobs/
[{"type": "SUBMISSION", "submission_id": "train-8k-x7k2p", "status": "RUNNING", "end_time": null, ...}]

KubeRay 1.7 asks the dashboard every 3 s (RayJobDefaultRequeueDuration). A job that it sees FAILED is retried in a new
Ray cluster. If the dashboard goes first, the job's last known state remains RUNNING, and after 300 s of requests that
fail it is Failed with JobStatusCheckTimeoutExceeded, which checkBackoffLimitAndUpdateStatusIfNeeded never retries.

`ray job stop` would not help: STOPPED counts as complete. SidecarMode retries when the head's pod is gone but not when
its node hangs, and two shells would read the command.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from deepscaler.system.processes import children

DASHBOARD = "127.0.0.1:8265"
"""Address of Ray's dashboard in the head's own pod."""

SEEN = 15.0
"""Seconds from the job's end after which the operator has seen it; five of its polls."""

POLL = 1.0
"""Seconds between two looks at the job."""

MARGIN = 10.0
"""Seconds of the grace period to leave to Ray itself."""

SILENCE = 30.0
"""Seconds without an answer after which the dashboard counts as gone; a head that saves is busy."""

ENDING = 60.0
"""Seconds that a command has to end after its training; a chain whose stage was just done continues instead."""

LAST = 40.0
"""Seconds before the operator must see the end: the head no longer waits for a save, and asks the command to end."""

KILLING = 10.0
"""Seconds before the operator must see the end: a command that stays is killed, and Ray has time to notice."""

JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR="
"""Variable that Ray adds to a job's command: {"metadata": {"job_submission_id": "train-8k-x7k2p"}, ...}."""

SHELLS = ("sh", "dash", "bash")


def see_off(
    dashboard: str, until: float, say: Callable[[str], None], *, is_ending: bool, dry_run: bool = False
) -> None:
    """Ends Ray's job, and stays until the operator has seen the end, or until `until` (of time.monotonic()).

    A command gets SIGTERM once; a command that is ending by itself gets it only if that takes too long. A command that
    would outlive the grace period is killed: the operator retries a job that has failed, but not one that it last saw
    running.
    """
    if dry_run:
        for pid in [] if is_ending else commands(_at_work(jobs_of(dashboard) or [])):
            say(f"Process {pid} would be asked to end.")
        return
    signalled = killed = False
    patient_until = min(time.monotonic() + ENDING, last_save(until)) if is_ending else 0.0
    answered, jobs = time.monotonic(), jobs_of(dashboard)
    while (now := time.monotonic()) < until and now - answered < SILENCE:
        if jobs is not None:
            answered = now
            if not (at_work := _at_work(jobs)):
                break
            # a signal and not Ray's own request to stop: that makes the job STOPPED, which counts as complete,
            # so the operator would not retry it
            signalled = signalled or (now >= patient_until and _signal(signal.SIGTERM, at_work, say))
            killed = killed or (now >= until - SEEN - KILLING and _signal(signal.SIGKILL, at_work, say))
        time.sleep(POLL)
        jobs = jobs_of(dashboard)
    for job in jobs or []:
        say(f"Ray's job {job['submission_id']} is {job['status']}.")
    # Ray gives milliseconds.
    ended = max(((job["end_time"] or 0) / 1000 for job in jobs or []), default=0.0)
    left = min(ended + SEEN - time.time(), until - time.monotonic())
    if left > 0:
        say(f"Waiting {left:.0f} s, so that the operator sees it.")
        time.sleep(left)


def jobs_of(dashboard: str) -> list[dict[str, Any]] | None:
    """Returns the jobs that were posted to a Ray cluster; None if its dashboard does not answer."""
    # Ray 2.60 takes its token from this header, too (http_token_authentication.py); KubeRay uses it as well.
    headers = {"x-ray-authorization": f"Bearer {os.environ.get('RAY_AUTH_TOKEN', '')}"}
    with suppress(OSError, HTTPException, ValueError), closing(HTTPConnection(dashboard, timeout=10)) as connection:
        connection.request("GET", "/api/jobs/", headers=headers)
        reply = connection.getresponse()
        if reply.status == HTTPStatus.OK:
            return [job for job in json.loads(reply.read()) if job.get("submission_id")]
    return None


def last_save(until: float) -> float:
    """Returns the time until which a head can wait for a save, if its pod ends at `until` (of time.monotonic())."""
    return until - SEEN - LAST


def commands(names: Collection[str]) -> list[int]:
    """Returns the processes of the jobs' commands: the child of Ray's shell, or the process that replaced the shell."""
    inside = {int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if _job_of(path) in names}
    # Everything that a command starts inherits the variable, and only the top of that tree is the command or
    # its shell.
    topmost = [pid for pid in inside if _parent(pid) not in inside]
    return [one for pid in topmost for one in (children(pid) if _name(pid) in SHELLS else [pid])]


def _at_work(jobs: Sequence[dict[str, Any]]) -> list[str]:
    return [job["submission_id"] for job in jobs if job["status"] in ("PENDING", "RUNNING")]


def _signal(number: signal.Signals, names: Collection[str], say: Callable[[str], None]) -> bool:
    """Sends a signal to the commands of jobs; returns whether there was one."""
    found = commands(names)
    for pid in found:
        say(f"Process {pid} is {'killed' if number == signal.SIGKILL else 'asked to end'}.")
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    return bool(found)


def _job_of(environment: Path) -> str | None:
    """Returns the job to whose command a process belongs; None if there is none."""
    with suppress(OSError, ValueError, KeyError):
        for entry in environment.read_text(encoding="utf-8", errors="replace").split("\0"):
            if entry.startswith(JOB_CONFIG):
                return str(json.loads(entry.removeprefix(JOB_CONFIG))["metadata"]["job_submission_id"])
    return None


def _parent(pid: int) -> int | None:
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # proc(5): the name in parentheses may itself hold ")" and blanks.
        return int(stat.rpartition(")")[2].split()[1])
    return None


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    return ""
