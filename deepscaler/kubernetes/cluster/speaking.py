"""Chooses the pod and container whose log is a job's, and prints its lines: `x7k2p-head-9wzqd | step 12 of 1040`."""

from collections.abc import Sequence

from deepscaler.kubernetes.cluster.look import INSTANCE, Object, Seen, containers, is_head, name_of
from deepscaler.kubernetes.cluster.obstacles import obstacles, queue_reason
from deepscaler.output.terminal import printable

DRIVER_LOG = "driver-log"
"""Container of a head whose log is the command's."""


def chosen(seen: Sequence[Seen], wanted: str | None) -> Seen:
    """Returns the job of a name; without a name, the one with the newest head, or else the last one that exists."""
    if wanted:
        return next(one for one in seen if one.submitted.name == wanted)
    heads = [(is_head(head), str(head["metadata"]["creationTimestamp"]), one) for one in seen if (head := one.head)]
    if heads:
        # Without the third part: of two heads made in one second, max would compare the jobs, which have no
        # order.
        return max(heads, key=lambda entry: entry[:2])[2]
    return next((one for one in reversed(seen) if one.job is not None), seen[-1])


def why_no_log(seen: Seen) -> str:
    """Returns why a job has no log."""
    name = seen.submitted.name
    if seen.job is None and seen.pods:
        return f"{name} was deleted; {len(seen.pods)} of its pods still end, and a training saves first"
    if seen.job is None:
        return f"{name} is not on the cluster; what it wrote is on the volume of the runs"
    state = seen.status.get("jobDeploymentStatus") or "just made"
    if seen.is_ended:
        return f"{name} has ended ({state}) and its pods are gone; what it wrote is on the volume of the runs"
    told = "; ".join(reason for reason in (queue_reason(seen), *obstacles(seen)) if reason)
    return f"the command of {name} has not begun ({state}{told and f': {told}'})"


def has_begun(pod: Object) -> bool:
    """Returns whether the container with the command's log has started."""
    return any(one["name"] == command_container(pod) and has_spoken(one) for one in containers(pod))


def has_spoken(container: Object) -> bool:
    """Returns whether a container has run, now or in an earlier try."""
    state = container.get("state") or {}
    return bool(state) and ("waiting" not in state or bool((container.get("lastState") or {}).get("terminated")))


def command_container(pod: Object) -> str:
    """Returns the container that prints the command's output."""
    return DRIVER_LOG if is_head(pod) else str(pod["spec"]["containers"][0]["name"])


def speaker(pod: Object) -> str:
    """Returns a pod's name without its job's: x7k2p-head-9wzqd."""
    return name_of(pod).removeprefix(f"{pod['metadata']['labels'].get(INSTANCE, '')}-")


def print_heading(seen: Seen, pod: Object) -> None:
    """Prints whose lines follow."""
    print(f"== job {seen.submitted.name}, pod {name_of(pod)}", flush=True)


def print_lines(who: str, text: str) -> None:
    """Prints lines with their source, including empty ones."""
    for line in text.splitlines() or [""]:
        # Tabs are columns of the terminal, and the name before the line has moved them.
        print(f"{who:<12} | {printable(line.expandtabs())}", flush=True)
