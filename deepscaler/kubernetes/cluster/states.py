"""Returns the states of a run's jobs from the cluster, or from the record if the cluster cannot be asked.

("train-8k", JobState(state="Suspended", reason="Kueue: Pending: insufficient unused quota for nvidia.com/gpu", ...))
"""

import json
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from deepscaler.kubernetes.cluster.kubectl import Kubectl
from deepscaler.kubernetes.cluster.look import (
    INSTANCE,
    Object,
    Seen,
    cluster_of,
    conditions,
    is_head,
    look,
    name_of,
    since,
)
from deepscaler.kubernetes.cluster.obstacles import num_expected, obstacles, queue_reason
from deepscaler.kubernetes.cluster.record import Submitted
from deepscaler.kubernetes.cluster.refusals import ClusterError, UnreachableError
from deepscaler.kubernetes.cluster.speaking import command_container, has_begun
from deepscaler.launch.launcher import JobState
from deepscaler.output.terminal import shorten

LOG_SECONDS = 15.0
EXEC_SECONDS = 30.0
"""Seconds for `deepscaler status` in the head's pod, which reads a volume that may be slow."""

LINE_WIDTH = 200
MOST_NODES = 4
"""Most nodes to show by name."""

IMPLIED = {"Running": "RUNNING", "Complete": "SUCCEEDED", "Failed": "FAILED"}
"""Ray's state of a job that the operator's state implies."""


def states(jobs: Sequence[Submitted]) -> tuple[list[tuple[str, JobState]], str]:
    """Returns each job by its name, and why the cluster was not asked."""
    try:
        seen = look(jobs)
    except ClusterError as error:
        return [(job.name, _as_written(job)) for job in jobs], str(error)
    has_conductor = any(job.kind == "job" for job in jobs)
    cluster = cluster_of(jobs)
    return [(one.submitted.name, _state(one, cluster, has_conductor=has_conductor)) for one in seen], ""


def far_status(jobs: Sequence[Submitted]) -> tuple[dict[str, Any], str]:
    """Returns the output of `deepscaler status --json` in a pod that sees the run's folder, or why there is none."""
    run_dir = next((job.run_dir for job in jobs if job.run_dir and job.trains), "")
    if not run_dir:
        return {}, ""
    cluster = cluster_of(jobs)
    try:
        labelled = f"{INSTANCE} in ({','.join(job.name for job in jobs)})"
        pods = cluster.read("pods", "--selector", labelled)["items"]
        able = [pod for pod in pods if _can_answer(pod, {job.name for job in jobs if job.kind == "job"})]
        if not able:
            return {}, ""
        # creationTimestamp is in UTC and to the second, so that its texts compare as times
        newest = max(able, key=lambda pod: (is_head(pod), str(pod["metadata"]["creationTimestamp"])))
        container = newest["spec"]["containers"][0]["name"]
        words = ("exec", name_of(newest), "-c", container, "--", "deepscaler", "status", run_dir, "--json")
        told = json.loads(cluster.ask(*words, seconds=EXEC_SECONDS))
    except UnreachableError as error:
        return {}, str(error)
    except (ClusterError, ValueError) as error:
        if "(Forbidden)" in str(error):
            return {}, f"your user may not create pods/exec in namespace {cluster.namespace}: ask who runs the cluster"
        return {}, f"`deepscaler status {run_dir}` in the pod: {shorten(' '.join(str(error).split()), LINE_WIDTH)}"
    return (told, "") if isinstance(told, dict) else ({}, "the pod answered with something else")


def _state(seen: Seen, cluster: Kubectl, *, has_conductor: bool) -> JobState:
    job = seen.submitted
    if seen.job is None and seen.pods:
        return JobState(job.name, "going", f"deleted; {len(seen.pods)} pods still end, a training saves first")
    if seen.job is None:
        waits = has_conductor and job.kind == "rayjob"
        reason = "made when its turn comes, or done" if waits else "deleted, or its time after the end is over"
        return JobState(job.name, "not there", reason)
    if not seen.is_ours:
        return JobState(job.name, "not there", "a job of another run has this name now")
    told = _rayjob_state(seen) if job.kind == "rayjob" else _job_state(seen)
    begun = seen.status.get("startTime")
    # a RayJob has endTime, a Job completionTime
    elapsed = since(begun, seen.status.get("endTime") or seen.status.get("completionTime"))
    return JobState(
        job.name,
        *told,
        elapsed=str(timedelta(seconds=int(elapsed))) if elapsed is not None and told[0] != "Suspended" else "",
        nodes=_nodes(seen.pods),
        start=begun or "",
        notes=tuple(_notes(seen, cluster)),
    )


def _rayjob_state(seen: Seen) -> tuple[str, str]:
    status = seen.status
    # KubeRay's state of a new job is the empty text
    state, ray = status.get("jobDeploymentStatus") or "New", status.get("jobStatus", "")
    shown = state if ray in ("", IMPLIED.get(state)) else f"{state} ({ray})"
    if (seen.job or {})["metadata"].get("deletionTimestamp"):
        return f"{state}, going", "deleted; a training saves first"
    if seen.is_ended:
        message = status.get("message", "").partition(", last available logs")[0]  # `deepscaler logs` shows them
        told = [status.get("reason", ""), " ".join(message.split())]
        return shown, shorten(": ".join(part for part in told if part), LINE_WIDTH) if state != "Complete" else ""
    if reason := queue_reason(seen):
        return shown, reason
    ready = sum(conditions(pod.get("status", {})).get("Ready", {}).get("status") == "True" for pod in seen.pods)
    return shown, f"{ready} of {num_expected(seen)} pods ready" if state != "Running" and seen.pods else ""


def _job_state(seen: Seen) -> tuple[str, str]:
    told = conditions(seen.status)
    for name in ("Complete", "Failed", "Suspended"):
        if told.get(name, {}).get("status") == "True":
            reason = f"{told[name].get('reason', '')}: {told[name].get('message', '')}" if name == "Failed" else ""
            return name, queue_reason(seen) if name == "Suspended" else reason
    return ("Running" if seen.status.get("ready") else "Pending"), ""


def _notes(seen: Seen, cluster: Kubectl) -> list[str]:
    """Returns further notes: pods that do not start, retries, the last line of the log."""
    lines = [] if seen.is_ended else obstacles(seen)
    failed, limit = seen.status.get("failed") or 0, (seen.job or {})["spec"].get("backoffLimit")
    if failed and limit is not None:
        # `failed` counts the last failure, too, after which nothing is retried.
        lines.append(f"{min(failed, limit)} of {limit} retries used")
    if line := _last_line(seen, cluster):
        lines.append(f"last line of its log: {line}")
    return lines


def _last_line(seen: Seen, cluster: Kubectl) -> str:
    """Returns the last line that the command has printed; empty if there is none."""
    pod = seen.head
    if pod is None:
        return ""
    name = command_container(pod)
    if not has_begun(pod):
        return ""
    try:
        done = cluster.run("logs", name_of(pod), "-c", name, "--tail=1", seconds=LOG_SECONDS)
    except UnreachableError:
        return ""
    lines = done.stdout.strip().splitlines() if not done.returncode else []
    return shorten(lines[-1].strip(), LINE_WIDTH) if lines else ""


def _nodes(pods: Sequence[Object]) -> str:
    names = dict.fromkeys(pod["spec"]["nodeName"] for pod in pods if pod.get("spec", {}).get("nodeName"))
    return ", ".join(names) if len(names) <= MOST_NODES else f"{len(names)} nodes"


def _can_answer(pod: Object, jobs: set[str]) -> bool:
    """Returns whether a pod runs and has the run's volume and the command line."""
    works = any("running" in one.get("state", {}) for one in pod.get("status", {}).get("containerStatuses", ()))
    return works and (is_head(pod) or pod["metadata"]["labels"][INSTANCE] in jobs)


def _as_written(job: Submitted) -> JobState:
    begun = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.submitted)) if job.submitted else ""
    where = f"submitted {begun} to {job.context}, namespace {job.namespace}"
    return JobState(job.name, "unknown", " ".join(where.split()))
