"""Reads a run's jobs from a cluster: RayJobs, their pods, events about them, and Kueue's workloads.

seen = look(read_jobs(folder))[0]
seen.job["status"]["jobDeploymentStatus"]       # 'Running'
[name_of(pod) for pod in seen.pods]             # ['train-8k-x7k2p-head-9wzqd', ...], the oldest first
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from deepscaler.kubernetes.cluster.kubectl import Kubectl
from deepscaler.kubernetes.cluster.owner import is_of_another
from deepscaler.kubernetes.cluster.record import Submitted
from deepscaler.kubernetes.cluster.refusals import ClusterError

Object = dict[str, Any]

INSTANCE = "app.kubernetes.io/instance"
"""Label with the job's name on all objects of a job."""

RUN_DIR = "deepscaler/run-dir"
"""Annotation with the run's folder on objects that do not name it in their command."""

QUEUE = "kueue.x-k8s.io/queue-name"
HEAD = "head"

RESOURCES = {"rayjob": "rayjobs.ray.io", "job": "jobs.batch"}
"""Names that kubectl has for the kinds in a record; a short name alone could belong to another group."""

ENDED = ("Complete", "Failed", "ValidationFailed")
"""Values of jobDeploymentStatus after which the operator stops acting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Holds a job as it is on the cluster."""

    submitted: Submitted
    job: Object | None = None
    """The RayJob or Job; None if there is none of that name."""
    pods: Sequence[Object] = ()
    """Its pods, oldest first; pods of an earlier try may linger among them."""
    events: Sequence[Object] = ()
    """Events about the job and its pods, oldest first."""
    workload: Object | None = None
    """Kueue's workload, if the job has a queue."""
    status: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        # The class is frozen, and most readers want the status alone.
        object.__setattr__(self, "status", (self.job or {}).get("status", {}))

    @property
    def is_ours(self) -> bool:
        """Returns whether the job of that name is this run's, by the folder in its command and by its owner."""
        return (
            self.job is not None
            and belongs(self.job, self.submitted.run_dir)
            and not is_of_another(self.job, self.submitted.owner)
        )

    @property
    def is_ended(self) -> bool:
        """Returns whether nothing more will happen."""
        return is_ended(self.job or {}) if self.submitted.kind == "rayjob" else is_job_ended(self.job or {})

    @property
    def head(self) -> Object | None:
        """Returns the newest head, or a Job's newest pod; None if there is none."""
        heads = [pod for pod in self.pods if self.submitted.kind != "rayjob" or is_head(pod)]
        return heads[-1] if heads else None


def cluster_of(jobs: Sequence[Submitted]) -> Kubectl:
    """Returns the one cluster that all of a run's jobs were submitted to."""
    return Kubectl(jobs[-1].context, jobs[-1].namespace)


def look(jobs: Sequence[Submitted], *, all_events: bool = False) -> list[Seen]:
    """Returns the cluster's view of each job, with its warnings or all events. Raises ClusterError."""
    cluster = cluster_of(jobs)
    resources = ",".join([*dict.fromkeys(RESOURCES[job.kind] for job in jobs), "pods"])
    labelled = f"{INSTANCE} in ({','.join(job.name for job in jobs)})"
    # One question for jobs and pods: two could show a job of one moment and pods of another.
    items = cluster.read(resources, "--selector", labelled)["items"]
    selected = () if all_events else ("--field-selector", "type=Warning")
    events = sorted(_optional(cluster, "events", *selected), key=when)
    workloads = _optional(cluster, "workloads.kueue.x-k8s.io") if any(map(_is_queued, items)) else []
    return [_seen(job, items, events, workloads) for job in jobs]


def belongs(job: Object, run_dir: str) -> bool:
    """Returns whether a job's command names a run's folder; a command that names none counts as such."""
    spec = job["spec"]
    if told := job["metadata"].get("annotations", {}).get(RUN_DIR):
        return bool(told == run_dir)
    if "entrypoint" in spec:
        try:
            words = shlex.split(spec["entrypoint"])
        except ValueError:
            return False
    else:
        # A Job has no entrypoint: its folder is among the words of its containers.
        containers = spec["template"]["spec"]["containers"]
        words = [word for one in containers for word in (*one.get("command", ()), *one.get("args", ()))]
    folders = {word.removeprefix("--output-dir=") for word in words}
    return not run_dir or run_dir in folders or not any(word.startswith("/runs/") for word in folders)


def is_ended(rayjob: dict[str, Any]) -> bool:
    """Returns whether the operator has finished with a RayJob."""
    return rayjob.get("status", {}).get("jobDeploymentStatus") in ENDED


def is_job_ended(job: dict[str, Any]) -> bool:
    """Returns whether a Job of Kubernetes has ended, well or not."""
    conditions = job.get("status", {}).get("conditions", ())
    return any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)


def is_head(pod: Object) -> bool:
    """Returns whether a pod is a Ray cluster's head."""
    return bool(pod["metadata"].get("labels", {}).get("ray.io/node-type") == HEAD)


def name_of(one: Object) -> str:
    """Returns the name of an object."""
    return str(one["metadata"]["name"])


def conditions(status: Mapping[str, Any]) -> dict[str, Object]:
    """Returns a status' conditions by type."""
    return {one["type"]: one for one in status.get("conditions") or ()}


def containers(pod: Object) -> list[Object]:
    """Returns the states of a pod's containers, in the order in which they start."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def moment(text: str | None) -> datetime | None:
    """Returns a text as a point in time; None for None."""
    return datetime.fromisoformat(text) if text else None


def when(event: Object) -> datetime:
    """Returns when an event was last seen; the two APIs of events keep it in different fields."""
    series = event.get("series") or {}
    told = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return datetime.fromisoformat(told or event["metadata"]["creationTimestamp"])


def since(text: str | None, until: str | None = None) -> float | None:
    """Returns the seconds from a point in time to another, or to now; None if unknown."""
    begun = moment(text)
    return ((moment(until) or datetime.now(UTC)) - begun).total_seconds() if begun else None


def _seen(job: Submitted, items: Sequence[Object], events: Sequence[Object], workloads: Sequence[Object]) -> Seen:
    mine = [one for one in items if one["metadata"]["labels"][INSTANCE] == job.name]
    found = next((one for one in mine if one["kind"].lower() == job.kind and name_of(one) == job.name), None)
    # Times are in UTC and of one form, so they sort as texts. A pod that is older than its job is of another one of
    # that name, which was removed before this one was submitted.
    made = _made(found or {"metadata": {}})
    pods = sorted((one for one in mine if one["kind"] == "Pod" and _made(one) >= made), key=_made)
    workload = next((one for one in workloads if found and _owner(one) == found["metadata"]["uid"]), None)
    names = {job.name, (found or {}).get("status", {}).get("rayClusterName")}
    names |= {name_of(one) for one in (*pods, *([workload] if workload else ()))}
    about = [event for event in events if event["involvedObject"].get("name") in names]
    return Seen(submitted=job, job=found, pods=pods, events=about, workload=workload)


def _made(one: Object) -> str:
    return str(one["metadata"].get("creationTimestamp", ""))


def _optional(cluster: Kubectl, *words: str) -> list[Object]:
    """Returns a helpful but optional list; empty if the user may not read it."""
    try:
        items: list[Object] = cluster.read(*words)["items"]
    except ClusterError:
        return []
    return items


def _owner(workload: Object) -> str:
    owners = workload["metadata"].get("ownerReferences", [])
    return str(owners[0]["uid"]) if owners else ""


def _is_queued(one: Object) -> bool:
    return one["kind"] != "Pod" and QUEUE in one["metadata"].get("labels", {})
