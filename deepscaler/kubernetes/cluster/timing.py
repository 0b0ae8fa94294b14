"""Divides the time from a job's creation to its first step into phases, using pods, events, Kueue and the run itself.

queue -> pods made -> scheduled -> image -> init containers, one by one -> Ray up -> job runs -> verl -> first step
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from deepscaler.kubernetes.cluster.look import Object, Seen, conditions, containers, is_head, look, name_of, since
from deepscaler.kubernetes.cluster.record import Submitted
from deepscaler.kubernetes.cluster.states import far_status
from deepscaler.launch.launcher import Phase

PULLED = re.compile(r'Successfully pulled image "[^"]*" in ([\w.µ]+)(?: \(([\w.µ]+) including waiting\))?')
THERE = "already present on machine"
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def newest_timing(jobs: Sequence[Submitted]) -> list[Phase]:
    """Returns the phases of the job that was created last. Raises ClusterError."""
    made = [one for one in look(jobs, all_events=True) if one.job is not None and one.submitted.kind == "rayjob"]
    if not made:
        return []
    newest = max(made, key=lambda one: str((one.job or {})["metadata"]["creationTimestamp"]))
    return timing(newest, far_status(jobs)[0])


def timing(seen: Seen, told: Mapping[str, Any]) -> list[Phase]:
    """Returns the known phases of the newest try, in order; `told` is the run's own `status --json`."""
    if seen.job is None:
        return []
    status, own = seen.status, _own(told)
    heads = [pod for pod in seen.pods if is_head(pod)]
    head = heads[-1] if heads else None
    cluster = status.get("rayClusterName")
    workers = [
        pod for pod in seen.pods if not is_head(pod) and pod["metadata"]["labels"].get("ray.io/cluster") == cluster
    ]
    # Times begin with the year, so "9" sorts behind all of them: a worker that is not ready is the slowest.
    worker = max(workers, key=lambda pod: _ready(pod) or "9", default=None)
    created = str(seen.job["metadata"]["creationTimestamp"])
    admitted = _admitted(seen)
    # Of a retry only startTime is new; what a first try spent in the queue belongs to the creation.
    begun = status.get("startTime") if status.get("failed") else created
    runs = status.get("rayJobInfo", {}).get("startTime")
    ready = max((when for pod in (head, worker) if pod and (when := _ready(pod))), default=None)
    pods = [
        Phase("scheduled", head=_scheduled(head), worker=_scheduled(worker)),
        Phase("image pulled", head=_pulled(head, seen.events), worker=_pulled(worker, seen.events)),
        *_init_phases(head, worker),
        Phase("Ray up", head=_up(head), worker=_up(worker)),
    ]
    phases = [
        Phase("in the queue", job=_between(created, admitted)) if not status.get("failed") else Phase("in the queue"),
        Phase("pods made", job=_between(max(filter(None, (begun, admitted))), _creation(head))),
        *pods,
        Phase("job posted", job=_between(ready, runs)),
        Phase("until the attempt", job=_between(runs, own.get("started"))),
        Phase("verl and its engine", job=_between(own.get("started"), own.get("begun"))),
        Phase("first step", job=_between(own.get("begun"), own.get("first_step"))),
        Phase("from apply to the first step", job=_between(begun, own.get("first_step"))),
    ]
    return [phase for phase in phases if (phase.job, phase.head, phase.worker) != (None, None, None)]


def seconds_of(duration: str) -> float:
    """Returns the seconds of a duration in Go's format.

    >>> seconds_of("1m12.5s")
    72.5
    """
    # The longer units first: "m|ms" would read 5ms as five minutes.
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)(h|ms|us|µs|ns|m|s)", duration))


def _init_phases(head: Object | None, worker: Object | None) -> list[Phase]:
    """Returns a phase for each init container, the head's first; sidecars take no time of their own."""
    found: dict[str, dict[str, float]] = {}
    for role, pod in (("head", head), ("worker", worker)):
        for container in (pod or {}).get("status", {}).get("initContainerStatuses", ()):
            ended = container.get("state", {}).get("terminated")
            if ended and (seconds := _between(ended.get("startedAt"), ended.get("finishedAt"))) is not None:
                found.setdefault(container["name"], {})[role] = seconds
    return [Phase(name, head=times.get("head"), worker=times.get("worker")) for name, times in found.items()]


def _own(told: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the times of the newest attempt; in a chain, those of the stage that began last."""
    stages = [stage for stage in told.get("stages", [told]) if stage.get("started")]
    return max(stages, key=lambda stage: datetime.fromisoformat(stage["started"]), default={})


def _between(first: str | None, then: str | None) -> float | None:
    if first is None or then is None:
        return None
    seconds = since(first, then)
    return max(0.0, seconds) if seconds is not None else None


def _condition(pod: Object | None, name: str) -> str | None:
    found = conditions((pod or {}).get("status", {})).get(name, {})
    return found.get("lastTransitionTime") if found.get("status") == "True" else None


def _admitted(seen: Seen) -> str | None:
    """Returns when Kueue let a job start."""
    found = conditions((seen.workload or {}).get("status", {})).get("Admitted", {})
    return found.get("lastTransitionTime") if found.get("status") == "True" else None


def _creation(pod: Object | None) -> str | None:
    return pod["metadata"]["creationTimestamp"] if pod else None


def _ready(pod: Object) -> str | None:
    return _condition(pod, "Ready")


def _scheduled(pod: Object | None) -> float | None:
    return _between(_creation(pod), _condition(pod, "PodScheduled"))


def _pulled(pod: Object | None, events: Sequence[Object]) -> float | None:
    """Returns the seconds for all images of a pod; None if an event is gone, as they are kept for an hour."""
    mine = [one for one in events if pod and one["involvedObject"].get("name") == name_of(pod)]
    pulls = [match for one in mine if (match := PULLED.search(one.get("message", "")))]
    if pulls:
        # The event gives the time with and without waiting for other pulls of the node; the pod waited for both.
        return sum(seconds_of(match[2] or match[1]) for match in pulls)
    return 0.0 if any(THERE in one.get("message", "") for one in mine) else None


def _up(pod: Object | None) -> float | None:
    """Returns the seconds from the start of Ray's container until its probes report that it is ready."""
    running = [
        one["state"]["running"]
        for one in containers(pod or {})
        if one["name"].startswith("ray-") and "running" in one.get("state", {})
    ]
    return _between(running[0].get("startedAt"), _condition(pod, "Ready")) if running else None
