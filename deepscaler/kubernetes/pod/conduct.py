"""Makes the RayJobs of a chain one after another, each at its own size, from a small pod without GPUs.

/chain/chain.json       {"job": "chain-mine", "stages": [{"name": "chain-mine-train-8k", "arguments": [...]}, ...]}
/chain/chain-mine-train-8k.json    the stage's RayJob

The pod keeps no state: the runs' volume shows which stages are done, and the cluster shows which one is running. It may
be killed at any moment; the next pod of the same Job continues.

A RayJob cannot wait for another one, and a chain takes days, so the user's own process cannot conduct it. The pod has
three verbs on RayJobs of one namespace, and speaks HTTPS with the standard library because the image has no kubectl.
If every stage may have the same size, `jobs/chain` keeps one Ray cluster instead, and needs no rights at all.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepscaler.kubernetes.pod.api import RayJobs
from deepscaler.launch.chain import Outcome
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import DONE, FAILED
from deepscaler.system.files import read_json

POLL = 10.0
"""Seconds between two looks at a RayJob."""

VISIBLE = 120.0
"""Seconds until another machine's file is visible on a network file system; NFS caches attributes for a minute."""

ENDED = ("Complete", "Failed", "ValidationFailed")
"""Values of jobDeploymentStatus after which the operator stops acting."""

Look = Callable[[Sequence[str]], tuple[Outcome, str]]
"""Function that returns the progress of a job's steps on the runs' volume, and why a gate has stopped."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Holds one job of a chain."""

    name: str
    arguments: tuple[str, ...]
    """Arguments of `deepscaler` in the RayJob."""
    rayjob: Mapping[str, Any]
    """Manifest of the RayJob."""


def read_stages(file: Path) -> tuple[str, list[Stage]]:
    """Returns the name of the conductor's Job, and the stages in order. Raises UserError for another file."""
    found = read_json(file)
    try:
        entries = [(str(one["name"]), tuple(map(str, one["arguments"]))) for one in found["stages"]]
        job = str(found["job"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{file} holds no stages of a chain: `deepscaler chain --on k8s` writes it") from error
    return job, [Stage(name, words, read_json(file.parent / f"{name}.json")) for name, words in entries]


def owned(stages: Sequence[Stage], job: str, uid: str) -> list[Stage]:
    """Returns stages whose RayJobs belong to the conductor's Job, so deleting the Job deletes them, too."""
    # By the uid: a Job of the same name that is made later does not count as the owner.
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": uid}
    return [
        # the reference names no `controller`, because Kueue would treat the RayJob as a part of it and not
        # queue it
        Stage(one.name, one.arguments, {**one.rayjob, "metadata": one.rayjob["metadata"] | _references(reference)})
        for one in stages
    ]


def conduct(stages: Sequence[Stage], rayjobs: RayJobs, look: Look, say: Callable[[str], None]) -> int:
    """Runs a chain to its end. Returns 0 if it is complete or a gate has stopped it, and 1 if a stage failed.

    Raises RefusedError if the API server refuses a stage.
    """
    for number, stage in enumerate(stages, start=1):
        title = f"Stage {number} of {len(stages)}, {stage.name}"
        outcome, told = _seen(look, stage, say)
        found = rayjobs.find(stage.name)
        if found is not None or outcome == "left":
            say(f"{title}: {'is there already' if found else 'making its RayJob'}.")
            failure = _run(stage, rayjobs, say)
            outcome, told = _seen(look, stage, say, seconds=0 if failure else VISIBLE)
            if outcome == "left":
                failure = failure or f"it has succeeded, but {VISIBLE:.0f} s later the volume does not show it"
                say(f"{title}: {failure}. No further stage is started; rerun the same command to resume.")
                return FAILED
            rayjobs.delete(stage.name)  # frees its machines at once, without waiting for ttlSecondsAfterFinished
        say(f"{title}: done.")
        if outcome == "stopped":
            say(f"The gate ends the chain here: {told}.")
            return DONE
    say("The chain is done.")
    return DONE


def is_of_file_system(error: BaseException) -> bool:
    """Returns whether the file system caused an error, so that a later try may succeed."""
    # Whoever reads a file for a user raises UserError and keeps the file system's own error as its cause.
    return isinstance(error, OSError) or isinstance(error.__cause__, OSError)


def _references(reference: Mapping[str, str]) -> dict[str, Any]:
    return {"ownerReferences": [dict(reference)]}


def _run(stage: Stage, rayjobs: RayJobs, say: Callable[[str], None]) -> str:
    """Creates a stage's RayJob if necessary and waits for its end. Returns why it failed; empty if it succeeded."""
    said, is_mine = "", False
    while True:
        found = rayjobs.find(stage.name)
        state = _state(found) if found else ""
        if state != said and found:
            say(f"{stage.name}: {state}.")
            said = state
        if found is None:
            if is_mine:
                return "its RayJob was deleted"
            rayjobs.create(stage.rayjob)
        elif "deletionTimestamp" not in found["metadata"]:
            # Only one that was seen alive can have been deleted under this conductor; one that was going
            # already is of an earlier try.
            is_mine = True
            status = found.get("status", {})
            if status.get("jobDeploymentStatus") in ENDED:
                # Not by Complete, which is also the state of a job that was stopped.
                return "" if status.get("jobStatus") == "SUCCEEDED" else f"its RayJob has ended: {state}"
        time.sleep(POLL)


def _state(rayjob: Mapping[str, Any]) -> str:
    """Returns the operator's status of a RayJob on one line."""
    if "deletionTimestamp" in rayjob["metadata"]:
        return "is being deleted"
    status = rayjob.get("status", {})
    names = ("jobDeploymentStatus", "jobStatus", "reason", "message")
    words = [str(status[name]).rstrip(".") for name in names if status.get(name)]
    retries = f"{status['failed']} of {rayjob['spec'].get('backoffLimit', 0)} retries" if status.get("failed") else ""
    return " ".join("; ".join([*dict.fromkeys(words), *([retries] if retries else [])]).split()) or "just made"


def _seen(look: Look, stage: Stage, say: Callable[[str], None], seconds: float = 0) -> tuple[Outcome, str]:
    """Returns the progress of a stage; looks again for `seconds` while steps are left, and while the volume is away."""
    until = time.monotonic() + seconds
    while True:
        try:
            outcome, told = look(stage.arguments)
        except (OSError, UserError) as error:
            if not is_of_file_system(error):
                raise
            # such as a file server that restarts
            say(f"The runs' volume cannot be read ({error}): looking again in {POLL:g} s.")
        else:
            if outcome != "left" or time.monotonic() >= until:
                return outcome, told
        time.sleep(min(POLL, 1.0) if seconds else POLL)
