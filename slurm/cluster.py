"""Asks SLURM with its own commands, each with a deadline. Nothing here needs accounting.

live_jobs(["4711"])  {"4711": JobState("4711", "PENDING", "Dependency", "0:00", "", "2026-05-01T12:00:00")}
"""

import getpass
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deepscaler.system.errors import UserError

if TYPE_CHECKING:
    from deepscaler.launch.launcher import JobState

SECONDS = 60
"""Seconds for one command; a controller under load answers late, a dead one never."""

FIELDS = ("job_id", "state", "reason", "elapsed", "nodes", "start")
# %T is the state's full name, not its abbreviation; %S is the expected start of a job that waits.
FORMAT = "%i|%T|%r|%M|%N|%S"
UNAVAILABLE = "Requested node configuration is not available"
"""Messages of `sbatch --test-only`: for nodes that do not exist, and for those that are only down or drained."""

NO_CONTROLLER = ("configuration source", "contact slurm controller", "Connection refused")
"""Words of SLURM's commands where they are installed but reach no controller."""


Ending = Literal["", "cancels", "preempts", "ends"]
"""Ways in which SLURM ends a job: for a person, by a preemption without a grace time, or for its own reasons."""


class UnreachableError(UserError):
    """SLURM did not answer: nothing is known of what it would say."""


def run(*command: str, stdin: str | None = None, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
    """Runs one of SLURM's commands. Raises UnreachableError if it is not there or does not answer."""
    if shutil.which(command[0]) is None:
        raise UnreachableError(f"no {command[0]} on this machine: run it on a login node of a SLURM cluster")
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False, input=stdin, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise UnreachableError(f"{command[0]} did not answer within {seconds:g} s: is SLURM's controller up?") from None


def ask(*command: str, check: bool = True) -> str:
    """Returns the output of a command; empty if it fails and `check` is off, else that raises UserError."""
    done = run(*command)
    if check and done.returncode:
        said = " ".join((done.stderr or done.stdout).split())  # squeue tells over several lines
        raise UserError(f"{' '.join(command[:3])} failed: {said[:400]}")
    return done.stdout if not done.returncode else ""


def fields_of(line: str) -> dict[str, str]:
    """Returns the values by name of a job or partition in a line of `scontrol --oneliner`."""
    # A value with spaces (Comment=, a Command= with arguments) leaves words without "=", which become keys that
    # nobody asks for; the keys that are asked for never hold spaces. partition keeps later "=" in the value.
    return dict(word.partition("=")[::2] for word in line.split())


def live_jobs(job_ids: Collection[str]) -> "dict[str, JobState]":
    """Returns those jobs that SLURM has not finished yet; an array's first element also counts under its own number."""
    from deepscaler.launch.launcher import JobState  # noqa: PLC0415  a node, which asks how its job is, has no use for it

    if not job_ids:
        return {}
    found: dict[str, JobState] = {}
    for line in ask("squeue", "--noheader", "--array", "--user", getpass.getuser(), "--format", FORMAT).split("\n"):
        if not line.strip():
            continue
        # squeue could be asked for the numbers alone, but with one that the controller has forgotten it fails
        # ("Invalid job id").
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
    # `--format` has no letter for STDOUT. `--Format` cuts a column at 20 letters unless it is given a width:
    # the path gets Linux's PATH_MAX.
    fields = "ArrayJobID:20,State:20,STDOUT:4096"
    told = ask("squeue", "--noheader", "--user", getpass.getuser(), "--Format", fields, check=bool(job_ids))
    found: dict[str, str] = {}
    for line in told.split("\n"):
        job_id, state, output = line[:20].strip(), line[20:40].strip(), line[40:].strip()
        if job_id in job_ids or (output and Path(output).is_relative_to(folder)):
            found.setdefault(job_id, state)
    return found


def how_ending(job_id: int) -> Ending:
    """Returns whether SLURM is ending a job for good, and for whom: after SIGTERM this decides what comes next.

    Returns nothing if the job continues, as in the grace time of a preemption, or if nothing shows it: a container has
    no scontrol.
    """
    try:
        told = run("scontrol", "--oneliner", "show", "job", str(job_id), seconds=2).stdout
    except (UnreachableError, OSError):
        return ""
    words = fields_of(told)
    if words.get("JobState", "RUNNING") == "RUNNING":
        return ""
    # A preemption sets PreemptTime when its grace time begins, while the job is still RUNNING: the state is
    # asked first.
    if words.get("PreemptTime", "None") != "None":
        return "preempts"
    # scancel leaves Reason alone; a time limit or a lost node sets it (TimeLimit, NodeFail).
    return "cancels" if words.get("Reason") == "None" else "ends"


def past_state(job_id: str) -> str:
    """Returns how a job ended, from the controller's memory or else accounting; empty if neither knows."""
    # The controller forgets an ended job after MinJobAge, 300 s by default.
    for line in ask("scontrol", "--oneliner", "show", "job", job_id, check=False).splitlines():
        if state := fields_of(line).get("JobState"):
            return state
    if shutil.which("sacct") is None:
        return ""
    told = ask(
        "sacct", "--noheader", "--parsable2", "--allocations", "--format", "State", "--jobs", job_id, check=False
    )
    # sacct says "CANCELLED by 1000" with the number of the user.
    return told.split("\n", maxsplit=1)[0].split(" ")[0]


def cancel(job_ids: Collection[str]) -> None:
    """Cancels jobs in order. Raises UserError if SLURM refuses."""
    if job_ids:
        ask("scancel", *job_ids)


def test_submission(script: str, partition: str) -> str:
    """Asks the controller whether it would take a batch script; returns a note on nodes that are away.

    Raises UserError with its reason, UnreachableError if it does not answer.
    """
    done = run("sbatch", "--test-only", stdin=script)
    if not done.returncode:
        return ""
    said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    reason = "; ".join(line.removeprefix("sbatch: error: ").removeprefix("allocation failure: ") for line in said)
    # `sbatch --test-only` refuses what `sbatch` would queue: nodes that are drained now may be back when the
    # job's turn comes.
    if UNAVAILABLE in reason and (away := _nodes_away(partition)):
        return f"down or drained: {', '.join(away)}; a job that needs them waits"
    if any(words in reason for words in NO_CONTROLLER):
        raise UnreachableError(f"SLURM's controller cannot be reached from here ({reason[:200]})")
    raise UserError(f"SLURM would refuse this job: {reason or 'no reason given'}; change the site file")


def _nodes_away(partition: str) -> list[str]:
    """Returns the nodes that cannot be had now, though they are there."""
    where = ["--partition", partition] if partition else []
    told = ask("sinfo", "--noheader", "--states", "down,drain,fail,maint", *where, "--format", "%N", check=False)
    return sorted(set(told.split()))
