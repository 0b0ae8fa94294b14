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
from deepscaler.system.errors import UserError, file_system_error
from deepscaler.system.exit_codes import DONE, FAILED
from deepscaler.system.files import read_json

POLL = 10.0
"""Seconds between two looks at a RayJob."""

VISIBLE = 120.0
"""Seconds until another machine's file is visible on a network file system; NFS caches attributes for a minute."""

REPEAT = 300.0
"""Seconds between two lines about a RayJob whose state does not change."""

STUCK = 6 * 3600.0
"""Seconds that a RayJob may take to be deleted, or to be noticed by the operator. Meanwhile no GPU is held."""

LOST_HEAD = "JobStatusCheckTimeoutExceeded"
"""Reason of a RayJob whose head did not answer the operator for too long, which never retries that itself."""

LOST_HEADS = "deepscaler/lost-heads"
"""Annotation of a RayJob that counts how many RayJobs of its stage ended by LOST_HEAD before it."""

MOST_LOST_HEADS = 3
"""Most new RayJobs of one stage after lost heads."""

ENDED = ("Complete", "Failed", "ValidationFailed")
"""Values of jobDeploymentStatus after which the operator stops acting."""

JUST_MADE = "just made"
"""Word for a RayJob to which the operator has given no state."""

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


def _references(reference: Mapping[str, str]) -> dict[str, Any]:
    return {"ownerReferences": [dict(reference)]}


def _run(stage: Stage, rayjobs: RayJobs, say: Callable[[str], None]) -> str:
    """Creates a stage's RayJob if necessary and waits for its end. Returns why it failed; empty if it succeeded."""
    manifest, waiting, is_mine = stage.rayjob, _Waiting(stage.name, say), False
    while True:
        found = rayjobs.find(stage.name)
        if found is None:
            if is_mine:
                return "its RayJob was deleted"
            rayjobs.create(manifest)
        else:
            state = _state(found)
            seconds = waiting.tell(state)
            is_going = "deletionTimestamp" in found["metadata"]
            # A queue may keep a RayJob suspended for days before the operator gives it a state.
            is_new = state == JUST_MADE and not found["spec"].get("suspend")
            if (is_going or is_new) and seconds > STUCK:
                why = "its finalizers hold it" if is_going else "does KubeRay's operator run?"
                return f"nothing has happened to its RayJob ({state}) for {seconds / 3600:.3g} h: {why}"
            again = _after_lost_head(stage, found)
            if is_going:
                # It belongs to an earlier try; a conductor that was replaced here finds the count on it.
                manifest = again or manifest
            elif found.get("status", {}).get("jobDeploymentStatus") in ENDED:
                # Not by Complete, which is also the state of a job that was stopped.
                if found["status"].get("jobStatus") == "SUCCEEDED":
                    return ""
                if again is None:
                    return f"its RayJob has ended: {state}"
                say(f"{stage.name}: its head was lost. Deleting its RayJob to create it again; it resumes.")
                rayjobs.delete(stage.name)
                manifest, is_mine = again, False
            else:
                # only one that was seen alive can have been deleted by somebody else
                is_mine = True
        time.sleep(POLL)


class _Waiting:
    """Says the state of a RayJob when it changes, and again every REPEAT seconds."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self._name = name
        self._say = say
        self._state = ""
        self._since = self._said = 0.0

    def tell(self, state: str) -> float:
        """Returns for how many seconds a RayJob has been in a state."""
        now = time.monotonic()
        if state != self._state:
            self._say(f"{self._name}: {state}.")
            self._state, self._since, self._said = state, now, now
        elif now - self._said >= REPEAT:
            self._say(f"{self._name}: {state}, for {(now - self._since) / 60:.0f} min.")
            self._said = now
        return now - self._since


def _after_lost_head(stage: Stage, found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns the manifest that follows a RayJob whose head was lost; None for another end, or after too many."""
    if found.get("status", {}).get("reason") != LOST_HEAD:
        return None
    metadata, mine = found["metadata"], stage.rayjob["metadata"]
    # The count of a RayJob that another Job's conductor left behind is not ours: the user has rerun the chain since.
    is_ours = _owners(metadata) == _owners(mine)
    lost = 1 + (int(metadata.get("annotations", {}).get(LOST_HEADS, 0)) if is_ours else 0)
    if lost > MOST_LOST_HEADS:
        return None
    annotations = {**mine.get("annotations", {}), LOST_HEADS: str(lost)}
    return {**stage.rayjob, "metadata": {**mine, "annotations": annotations}}


def _owners(metadata: Mapping[str, Any]) -> list[str]:
    return [str(one["uid"]) for one in metadata.get("ownerReferences", ())]


def _state(rayjob: Mapping[str, Any]) -> str:
    """Returns the operator's status of a RayJob on one line."""
    if "deletionTimestamp" in rayjob["metadata"]:
        return "is being deleted"
    status = rayjob.get("status", {})
    names = ("jobDeploymentStatus", "jobStatus", "reason", "message")
    words = [str(status[name]).rstrip(".") for name in names if status.get(name)]
    retries = f"{status['failed']} of {rayjob['spec'].get('backoffLimit', 0)} retries" if status.get("failed") else ""
    return " ".join("; ".join([*dict.fromkeys(words), *([retries] if retries else [])]).split()) or JUST_MADE


def _seen(look: Look, stage: Stage, say: Callable[[str], None], seconds: float = 0) -> tuple[Outcome, str]:
    """Returns the progress of a stage; looks again for `seconds` while steps are left, and while the volume is away."""
    until = time.monotonic() + seconds
    while True:
        try:
            outcome, told = look(stage.arguments)
        except (OSError, UserError) as error:
            if file_system_error(error) is None:
                raise
            # such as a file server that restarts
            say(f"The runs' volume cannot be read ({error}): looking again in {POLL:g} s.")
        else:
            if outcome != "left" or time.monotonic() >= until:
                return outcome, told
        time.sleep(min(POLL, 1.0) if seconds else POLL)
