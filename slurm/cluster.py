"""What SLURM says, by its own commands, each with a deadline. Nothing here needs accounting.

live_jobs(["4711"])  {"4711": JobState("4711", "PENDING", "Dependency", "0:00", "", "2026-05-01T12:00:00")}
"""

import getpass
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from deepscaler.launch.launcher import JobState
from deepscaler.system.errors import UserError

SECONDS = 60
"""For one command; a controller under load answers late, a dead one never."""

FIELDS = ("job_id", "state", "reason", "elapsed", "nodes", "start")
FORMAT = "%i|%T|%r|%M|%N|%S"
UNAVAILABLE = "Requested node configuration is not available"
"""What `sbatch --test-only` says of nodes that do not exist, and of those that are only down or drained."""

NO_CONTROLLER = ("configuration source", "contact slurm controller", "Connection refused")
"""Words of SLURM's commands where they are installed but reach no controller."""


class UnreachableError(UserError):
    """SLURM did not answer: nothing is known of what it would say."""


def run(*command: str, stdin: str | None = None, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
    """Runs one of SLURM's commands. Raises UnreachableError where it is not there or does not answer."""
    if shutil.which(command[0]) is None:
        raise UnreachableError(f"no {command[0]} on this machine: run it on a login node of a SLURM cluster")
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False, input=stdin, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise UnreachableError(f"{command[0]} did not answer within {seconds:g} s: is SLURM's controller up?") from None


def ask(*command: str, check: bool = True) -> str:
    """Returns the output of a command; empty where it fails and `check` is off, else that raises UserError."""
    done = run(*command)
    if check and done.returncode:
        said = " ".join((done.stderr or done.stdout).split())  # squeue tells over several lines
        raise UserError(f"{' '.join(command[:3])} failed: {said[:400]}")
    return done.stdout if not done.returncode else ""


def live_jobs(job_ids: Collection[str]) -> dict[str, JobState]:
    """Those of some jobs that SLURM still has to do with; an array's first element counts under its number, too."""
    if not job_ids:
        return {}
    found: dict[str, JobState] = {}
    for line in ask("squeue", "--noheader", "--array", "--user", getpass.getuser(), "--format", FORMAT).split("\n"):
        if not line.strip():
            continue
        state = JobState(*line.strip().split("|", len(FIELDS) - 1))
        array = state.job_id.partition("_")[0]
        if {state.job_id, array} & set(job_ids):
            found[state.job_id] = state
            found.setdefault(array, state)
    return found


def live_jobs_of(folder: Path, job_ids: Collection[str]) -> dict[str, str]:
    """Returns the states of the user's queued and running jobs that have one of some numbers or write below a folder.

    An array counts as one job. SLURM is asked once; where no number is given, one that does not answer has no jobs.
    """
    fields = "ArrayJobID:20,State:20,STDOUT:4096"
    told = ask("squeue", "--noheader", "--user", getpass.getuser(), "--Format", fields, check=bool(job_ids))
    found: dict[str, str] = {}
    for line in told.split("\n"):
        job_id, state, output = line[:20].strip(), line[20:40].strip(), line[40:].strip()
        if job_id in job_ids or (output and Path(output).is_relative_to(folder)):
            found.setdefault(job_id, state)
    return found


def is_ending(job_id: int) -> bool:
    """Returns whether SLURM is ending a job for good: after SIGTERM that tells a cancelled job from a preempted one.

    False where nobody can tell: in a container there is no squeue.
    """
    try:
        state = run("squeue", "--noheader", "--jobs", str(job_id), "--format", "%T", seconds=2).stdout.strip()
    except (UnreachableError, OSError):
        return False
    return bool(state) and state != "RUNNING"


def past_state(job_id: str) -> str:
    """How a job ended, from the controller's memory or else accounting; empty where neither knows."""
    for line in ask("scontrol", "--oneliner", "show", "job", job_id, check=False).splitlines():
        for word in line.split():
            if word.startswith("JobState="):
                return word.removeprefix("JobState=")
    if shutil.which("sacct") is None:
        return ""
    told = ask(
        "sacct", "--noheader", "--parsable2", "--allocations", "--format", "State", "--jobs", job_id, check=False
    )
    return told.split("\n", maxsplit=1)[0].split(" ")[0]


def cancel(job_ids: Collection[str]) -> None:
    """Cancel jobs. Raises UserError where SLURM refuses."""
    if job_ids:
        ask("scancel", *sorted(job_ids))


def test_submission(script: str, partition: str) -> str:
    """Asks the controller whether it would take a batch script; returns what to tell of nodes that are away.

    Raises UserError with its reason, UnreachableError where it does not answer.
    """
    done = run("sbatch", "--test-only", stdin=script)
    if not done.returncode:
        return ""
    said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    reason = "; ".join(line.removeprefix("sbatch: error: ").removeprefix("allocation failure: ") for line in said)
    if UNAVAILABLE in reason and (away := _nodes_away(partition)):
        return f"down or drained: {', '.join(away)}; a job that needs them waits"
    if any(words in reason for words in NO_CONTROLLER):
        raise UnreachableError(f"SLURM's controller cannot be reached from here ({reason[:200]})")
    raise UserError(f"SLURM would refuse this job: {reason or 'no reason given'}; change the site file")


def _nodes_away(partition: str) -> list[str]:
    """Nodes that cannot be had now, though they are there."""
    where = ["--partition", partition] if partition else []
    told = ask("sinfo", "--noheader", "--states", "down,drain,fail,maint", *where, "--format", "%N", check=False)
    return sorted(set(told.split()))
