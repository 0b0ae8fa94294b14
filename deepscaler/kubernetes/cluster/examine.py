"""`deepscaler doctor` on nodes of a cluster: a pod on each, as a training's worker is, its findings printed by node.

doctor-3f2a91   an Indexed Job; its pods have a worker's GPUs, memory and volumes, and lie on nodes of their own
"""

import copy
import secrets
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from deepscaler.job import Job
from deepscaler.kubernetes.cluster.asking import (
    check_rights,
    check_set_up,
    greet,
    greet_if_it_answers,
    say_whether_taken,
)
from deepscaler.kubernetes.cluster.compose import check, compose, dump, split
from deepscaler.kubernetes.cluster.kubectl import Kubectl
from deepscaler.kubernetes.cluster.look import is_job_ended
from deepscaler.kubernetes.cluster.place import Place
from deepscaler.kubernetes.cluster.refusals import ClusterError
from deepscaler.kubernetes.render.plans import plan_of
from deepscaler.kubernetes.render.pods import RUNS, literal
from deepscaler.output.terminal import printable
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import STOPPED

RIGHTS = (("create", "jobs.batch"), ("delete", "jobs.batch"), ("list", "pods"), ("get", "pods/log"))
POLL = 2.0
SAY_EVERY = 30.0
STARTS_PER_POD = 0
"""What a pod has found, a second one on the same node would find again."""

FORGET = 600
"""Seconds after which the cluster removes the Job by itself, should this process die before it has."""

DELETE_SECONDS = 60.0

Pods = Sequence[Mapping[str, Any]]


def examine_nodes(job: Job, place: Place, console: Console, *, minutes: float) -> int:
    """Applies, waits, prints, removes. Returns 1 where a node has a finding. Raises UserError after `minutes`."""
    manifest = _manifest(job, place, minutes)
    name = manifest["metadata"]["name"]
    cluster = Kubectl(place.context, place.namespace)
    greet(cluster, console)
    check_rights(cluster, RIGHTS)
    check_set_up(cluster, place, needs_claims=True)
    try:
        _leave_when_told()
        cluster.ask("create", "-f", "-", given=dump([manifest]))
        console.print(f"Job {name} asks {job.num_nodes} nodes what is missing there.", soft_wrap=True)
        pods, waits = _wait(cluster, name, job.num_nodes, console, minutes)
        return _print_findings(cluster, pods, job.num_nodes, waits, minutes, console)
    finally:
        _remove(cluster, name, console)


def describe_examination(job: Job, place: Place, console: Console, *, full: bool) -> int:
    """Prints the Job, with `full` its YAML, and whether the cluster would take it, if it can be asked."""
    manifest = _manifest(job, place, minutes=30)
    size = f"{job.num_nodes} nodes with {job.gpus_per_node} GPUs each"
    console.print(f"{manifest['metadata']['name']}: {size}: {job.command_line}", soft_wrap=True)
    if full:
        console.print(dump([manifest]), soft_wrap=True)
    cluster = Kubectl(place.context, place.namespace)
    _, silence = greet_if_it_answers(cluster, console)
    say_whether_taken(cluster, [manifest], place, console, silence, needs_claims=True)
    return 0


def _leave_when_told() -> None:
    """Has SIGTERM and a lost terminal end this process by an exception, as Ctrl-C does, so that the Job is removed."""

    def leave(*_: object) -> None:
        raise SystemExit(STOPPED)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def _manifest(job: Job, place: Place, minutes: float) -> dict[str, Any]:
    """Returns an Indexed Job whose pods are as the place's components make the workers of a training."""
    name = f"doctor-{secrets.token_hex(3)}"
    words = ("train", "doctor", "--output-dir", f"{RUNS}/doctor")  # for its worker alone
    size = {} if job.gpus_per_node else {"image": "cpu", "num_nodes": 2}  # of the CPU image the first pod is the head
    with tempfile.TemporaryDirectory(prefix="deepscaler-k8s-") as scratch:
        plan = plan_of(replace(job, name=name, arguments=words, **size))  # type: ignore[arg-type]
        [rayjob], _ = split(compose(plan, place, Path(scratch) / name))
    template = copy.deepcopy(rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"])
    pod = template["spec"]
    container = pod["containers"][0]
    for field in ("ports", "lifecycle"):
        container.pop(field, None)
    container |= {"name": "doctor", "command": [literal(word) for word in job.command]}
    pod |= {"initContainers": [], "restartPolicy": "Never", "terminationGracePeriodSeconds": 5}
    labels = rayjob["metadata"]["labels"]
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": place.namespace, "labels": labels},
        "spec": {
            "completionMode": "Indexed",
            "completions": job.num_nodes,
            "parallelism": job.num_nodes,
            "backoffLimitPerIndex": STARTS_PER_POD,
            "activeDeadlineSeconds": round(60 * minutes) + FORGET,
            "ttlSecondsAfterFinished": FORGET,
            "template": template,
        },
    }
    check(dump([manifest]), name)
    return manifest


def _wait(
    cluster: Kubectl, name: str, num_nodes: int, console: Console, minutes: float
) -> tuple[list[dict[str, Any]], str]:
    """Returns the pods when all have ended, or after some minutes; and then what is waited for."""
    started = said = time.monotonic()
    while True:
        pods = cluster.read("pods", "--selector", f"batch.kubernetes.io/job-name={name}")["items"]
        manifest = cluster.read("job", name)
        ended = [one for one in pods if one.get("status", {}).get("phase") in ("Succeeded", "Failed")]
        if len(ended) >= num_nodes or is_job_ended(manifest):
            return pods, ""
        now = time.monotonic()
        waits = _waited_for(manifest, pods, num_nodes)
        if now - started > 60 * minutes:
            return pods, waits
        if now - said > SAY_EVERY:
            said = now
            console.print(printable(f"Job {name}: {len(ended)} of {num_nodes} nodes have answered; {waits}."))
        time.sleep(POLL)


def _waited_for(manifest: Mapping[str, Any], pods: Pods, num_nodes: int) -> str:
    """Returns why not all nodes have answered, by what the scheduler, the kubelet or a queue says."""
    if manifest["spec"].get("suspend"):
        return "the queue has not admitted the job"
    reasons = [_reason(pod) for pod in pods]
    reasons += ["no pod was made yet"] * max(0, num_nodes - len(pods))
    told = {reason: reasons.count(reason) for reason in reasons if reason}
    return "; ".join(f"{count} x {reason}" for reason, count in told.items())


def _reason(pod: Mapping[str, Any]) -> str:
    """Returns why a pod has not ended; empty where it has."""
    status = pod.get("status", {})
    if status.get("phase") in ("Succeeded", "Failed"):
        return ""
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            told = " ".join(str(condition.get("message") or condition.get("reason")).split())
            return told.partition(". ")[0]  # what follows is about preemption
    for container in status.get("containerStatuses", ()):
        if waiting := container.get("state", {}).get("waiting"):
            return " ".join(f"{waiting.get('reason', '')} {waiting.get('message', '')}".split())
    return "a pod is examining its node" if status.get("phase") == "Running" else "a pod is starting"


def _print_findings(cluster: Kubectl, pods: Pods, num_nodes: int, waits: str, minutes: float, console: Console) -> int:
    """Prints what each pod says, with its node; 1 where one has a finding. Raises ClusterError where one is silent."""
    failed, num_said = [], 0
    for pod in sorted(pods, key=lambda one: str(one["spec"].get("nodeName", ""))):
        phase, node = pod.get("status", {}).get("phase"), str(pod["spec"].get("nodeName", ""))
        if phase not in ("Succeeded", "Failed"):
            continue
        lines = cluster.run("logs", pod["metadata"]["name"]).stdout.splitlines()  # an evicted pod has none
        for line in lines:
            console.print(printable(f"{node}: {line}"), soft_wrap=True)
        num_said += bool(lines)
        if phase == "Failed":
            failed.append(node or pod["metadata"]["name"])
    if waits:
        raise ClusterError(
            f"{num_said} of {num_nodes} nodes have answered within {minutes:g} minutes; {waits}: see to that, or give"
            " it longer with --minutes"
        )
    if num_said < num_nodes:
        silent = [str(pod["status"].get("reason", "")) for pod in pods if pod.get("status", {}).get("reason")]
        why = f": {', '.join(dict.fromkeys(silent))}" if silent else ""
        console.print(printable(f"Only {num_said} of {num_nodes} nodes said anything{why}."))
        return 1
    console.print(f"Something is missing on {', '.join(failed)}." if failed else "Nothing is missing on any node.")
    return 1 if failed else 0


def _remove(cluster: Kubectl, name: str, console: Console) -> None:
    """Removes the Job with its pods; what fails is only said, for the cluster removes it later by itself."""
    try:
        cluster.ask("delete", "job", name, "--ignore-not-found", "--wait=false", seconds=DELETE_SECONDS)
    except UserError as error:
        console.print(f"The job {name} was not removed ({error}); the cluster does that by itself.", soft_wrap=True)
