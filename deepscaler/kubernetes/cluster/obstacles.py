"""Explains why the pods of a job do not start and what a queue waits for, one line each with advice.

worker train-8k-x7k2p-workers-worker-74dft and 2 more: 0/5 nodes: 1 insufficient memory, 4 insufficient nvidia.com/gpu
"""

import re
from collections.abc import Sequence

from deepscaler.kubernetes.cluster.look import Object, Seen, conditions, containers, name_of, since, when
from deepscaler.kubernetes.cluster.refusals import advice_for
from deepscaler.output.terminal import shorten

IMAGE = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
ON_THE_WAY = ("PodInitializing", "ContainerCreating")
CREATE_FAILED = re.compile(r"Failed\w*Create\w*(Pod)?|FailedCreate")
POD = "{pod}"
"""Placeholder for a pod's name, until equal lines are merged."""

LOOK = f"see deepscaler logs RUN_DIR --job {POD}"

WIDTH = 300
LONG = 60.0
"""Seconds after which an init container that still runs is reported."""


def obstacles(seen: Seen) -> list[str]:
    """Returns a line for every pod that does not start, equal ones merged, and for pods that cannot be created."""
    told: dict[str, list[str]] = {}
    for pod in _current(seen):
        if text := obstacle(pod, seen.events):
            told.setdefault(text, []).append(name_of(pod))
    lines = [f"{_together(names)}: {text.replace(POD, names[0])}" for text, names in told.items()]
    return [*_not_made(seen), *lines]


def obstacle(pod: Object, events: Sequence[Object] = ()) -> str:
    """Returns why a pod is not working; empty if it is, or is on its way."""
    status, name = pod.get("status", {}), name_of(pod)
    if pod["metadata"].get("deletionTimestamp"):
        return "is being taken away; a training saves first"
    if status.get("phase") == "Failed" and status.get("reason"):
        return _short(f"{status['reason']}: {status.get('message', '')}")
    scheduled = conditions(status).get("PodScheduled")
    if scheduled is None and status.get("phase") == "Pending":
        scheduler = pod.get("spec", {}).get("schedulerName", "default-scheduler")
        return f"no scheduler has looked at it: does {scheduler} run?"
    if scheduled and scheduled["status"] != "True":
        return unschedulable(scheduled.get("message", "")) or str(scheduled.get("reason", ""))
    for container in containers(pod):
        if text := _container_obstacle(container, pod, events):
            return text
    is_waiting = status.get("phase") == "Pending" and not any(_is_running(one) for one in containers(pod))
    # FailedScheduling stays among the events after the pod has found a node; the condition above is up to date.
    mine = [one for one in events if one["involvedObject"].get("name") == name and one["type"] == "Warning"]
    mine = [one for one in mine if one["reason"] != "FailedScheduling"]
    return _short(f"{mine[-1]['reason']}: {mine[-1]['message']}") if is_waiting and mine else ""


def unschedulable(message: str) -> str:
    """Returns a scheduler's reason in short.

    >>> unschedulable("0/5 nodes are available: 5 Insufficient nvidia.com/gpu. preemption: 0/5 nodes are ...")
    '0/5 nodes: 5 insufficient nvidia.com/gpu'
    """
    # Behind these words is what preemption or new claims could do, for every node once more.
    text = re.split(r"\.? (?:no new claims|preemption:)|\. not found", " ".join(message.split()))[0].rstrip(". ")
    text = text.replace("nodes are available", "nodes").replace("Insufficient", "insufficient")
    text = re.sub(r"node\(s\) (had|didn't|did not) ", r"\1 ", text)
    if "PersistentVolumeClaim" in text or "persistentvolumeclaim" in text:
        text += ": see `kubectl describe pvc`, and storage_class in the site file"
    return _short(text)


def queue_reason(seen: Seen) -> str:
    """Returns what a queue waits for, or who holds a suspended job; empty if nothing does."""
    if seen.workload is None:
        if not (seen.job or {}).get("spec", {}).get("suspend"):
            return ""
        queue = (seen.job or {})["metadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name")
        return f"queue {queue}: Kueue has not taken it up; does it run?" if queue else "suspended by hand"
    told = conditions(seen.workload.get("status", {}))
    is_true = {name for name, one in told.items() if one["status"] == "True"}
    if "Finished" in is_true or "Admitted" in is_true:
        return ""
    if "QuotaReserved" in is_true:
        checks = seen.workload["status"].get("admissionChecks", ())
        waiting = [f"{one['name']} {one.get('message', '')}".strip() for one in checks if one.get("state") != "Ready"]
        return _short(f"Kueue: quota reserved, waits for {', '.join(waiting) or 'its admission'}")
    reasons = [told[name] for name in ("QuotaReserved",) if name in told]
    # Evicted stays behind as False once the job is admitted again.
    reasons += [told["Evicted"]] if "Evicted" in is_true else []
    text = "; ".join(f"{one['reason']}: {one.get('message', '')}".strip(": ") for one in reasons)
    return _short(f"Kueue: {text or 'in the queue'}")


def _container_obstacle(container: Object, pod: Object, events: Sequence[Object]) -> str:
    name, state = container["name"], container.get("state", {})
    waiting, ended = state.get("waiting") or {}, (container.get("lastState") or {}).get("terminated")
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in IMAGE:
        cause = _pull_failure(message, pod, events)
        return _short(
            f"cannot pull {container['image']} ({reason}{cause and f': {cause}'}): check image and tag in the site"
            " file, and the pull secret of service account deepscaler"
        )
    if reason == "CrashLoopBackOff" or (ended and ended.get("exitCode") and not container.get("ready")):
        times = container.get("restartCount", 1)
        often = "once" if times == 1 else f"{times} times"
        again = "runs again" if _is_running(container) else "waits for its next try"
        return f"container {name} has ended {often}{_ending(ended or {})} and {again}: {LOOK}"
    if reason and reason not in ON_THE_WAY:
        return _short(f"container {name} cannot be made ({reason}): {message or 'see kubectl describe pod'}")
    if failed := state.get("terminated"):
        if failed.get("exitCode"):
            return f"container {name} has ended{_ending(failed)}: {LOOK}"
        return ""
    seconds = since((state.get("running") or {}).get("startedAt"))
    if seconds and seconds > LONG and _is_init(container, pod):
        return f"init container {name} works since {seconds / 60:.0f} min"
    return ""


def _pull_failure(message: str, pod: Object, events: Sequence[Object]) -> str:
    """Returns why an image cannot be pulled; between two tries only an event says so."""
    told = [one["message"] for one in events if one["involvedObject"].get("name") == name_of(pod)]
    failed = [text for text in (message, *reversed(told)) if ": " in text and "pull" in text]
    return failed[0].rpartition(": ")[2] if failed else ""


def _ending(terminated: Object) -> str:
    code, reason = terminated.get("exitCode"), terminated.get("reason", "")
    told = [f"exit code {code}"] if code is not None else []
    return f" ({', '.join([*told, *([reason] if reason not in ('', 'Error') else [])])})" if told else ""


def _not_made(seen: Seen) -> list[str]:
    """Returns why pods of a job are missing: a quota, an account, a policy."""
    expected = num_expected(seen)
    missing = expected - len(_current(seen))
    failed = [one for one in seen.events if CREATE_FAILED.match(one["reason"])]
    if missing <= 0 or not failed or seen.is_ended:
        return []
    newest = max(failed, key=when)
    message = re.sub(r"^Failed to create .*?, ", "", newest["message"])
    advice = advice_for(message)
    return [f"{missing} of {expected} pods cannot be made: {_short(message)}{advice and f': {advice}'}"]


def num_expected(seen: Seen) -> int:
    """Returns how many pods a job has when it runs; 0 while it waits in a queue."""
    spec = (seen.job or {}).get("spec", {})
    if spec.get("suspend"):
        return 0
    groups = spec.get("rayClusterSpec", {}).get("workerGroupSpecs", ())
    return 1 + sum(int(group.get("replicas", 0)) for group in groups)


def _current(seen: Seen) -> list[Object]:
    """Returns the pods of the newest try."""
    if seen.submitted.kind == "job":
        # The Job keeps its failed pods for their logs, and a healthy one may have replaced them.
        return list(seen.pods[-1:])
    cluster = seen.status.get("rayClusterName")
    return [pod for pod in seen.pods if cluster in (None, pod["metadata"]["labels"].get("ray.io/cluster"))]


def _is_init(container: Object, pod: Object) -> bool:
    """Returns whether a container must end before the next begins; a sidecar need not."""
    return any(
        one["name"] == container["name"] and one.get("restartPolicy") != "Always"
        for one in pod.get("spec", {}).get("initContainers", ())
    )


def _is_running(container: Object) -> bool:
    return "running" in container.get("state", {})


def _together(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _short(text: str) -> str:
    return shorten(" ".join(text.split()), WIDTH)
