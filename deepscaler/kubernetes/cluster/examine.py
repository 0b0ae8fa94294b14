"""`deepscaler doctor` on nodes of a cluster: a pod on each, as a training's worker is, and traffic between them.

doctor-3f2a91   an Indexed Job; its pods have a worker's GPUs, memory and volumes, and are on nodes of their own
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

from deepscaler.doctor.finding import Finding
from deepscaler.doctor.judge import MOST_TRIES, among_flags, bad_nodes, judge, last_report
from deepscaler.doctor.table import conclude, conclude_earlier
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
from deepscaler.launch.launcher import Examination
from deepscaler.output.terminal import printable
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import STOPPED

RIGHTS = (("create", "jobs.batch"), ("delete", "jobs.batch"), ("list", "pods"), ("get", "pods/log"))
POLL = 2.0
SAY_EVERY = 30.0
RETRIES_PER_POD = 0
"""Retries of a pod: a second one on the same node would find the same."""

FORGET = 600
"""Seconds after which the cluster removes the Job by itself, should this process die before it has."""

DELETE_SECONDS = 60.0

SPARE_MINUTES = 5.0
"""Minutes in which another node has to take the pod of one that is left out: only a node that is there is spare."""

Pods = Sequence[Mapping[str, Any]]


def examine_nodes(asked: Examination, place: Place, console: Console) -> int:
    """Applies, waits, prints, removes. Returns 1 where a node has a finding. Raises UserError after some minutes.

    With `exclude_slow` bad nodes are left out and others examined, as long as the cluster has others for the pods:
    where it has none, the findings are those of the last examination that ended.
    """
    quiet = Console(quiet=True) if asked.as_json else console
    cluster = Kubectl(place.context, place.namespace)
    greet(cluster, quiet)
    check_rights(cluster, RIGHTS)
    check_set_up(cluster, place, needs_claims=True)
    without: list[str] = []
    found: dict[str, list[Finding]] = {}
    for left in reversed(range(MOST_TRIES)):
        try:
            logs = _examine(asked, place, cluster, without, quiet)
        except (UserError, KeyboardInterrupt, SystemExit) as error:
            return conclude_earlier(error, without, found, asked.job.num_nodes, console, as_json=asked.as_json)
        reports = {node: report for node, lines in logs.items() if (report := last_report(lines))}
        _print_lines({node: lines for node, lines in logs.items() if node not in reports}, quiet)
        found = judge(list(reports.values()), list(logs), asked.job.num_nodes)
        bad = bad_nodes(found)
        again = asked.exclude_slow and bad and left
        shown = quiet if again else console
        code = conclude(found, asked.job.num_nodes, shown, as_json=asked.as_json and not again)
        if bad:
            quiet.print(f"To leave them out: kubectl cordon {' '.join(bad)}", soft_wrap=True)
        if not again:
            return code
        without += bad
        quiet.print(f"Examining {asked.job.num_nodes} nodes without {', '.join(without)}.", soft_wrap=True)
    raise AssertionError("the last try returns")


def _examine(
    asked: Examination, place: Place, cluster: Kubectl, without: Sequence[str], console: Console
) -> dict[str, list[str]]:
    """Returns what each node's pod printed."""
    job, minutes = asked.job, asked.minutes
    manifest = _manifest(job, place, minutes, without)
    name = manifest["metadata"]["name"]
    try:
        _leave_when_told()
        cluster.ask("create", "-f", "-", given=dump([manifest]))
        console.print(f"Job {name} examines {job.num_nodes} nodes.", soft_wrap=True)
        pods, waits = _wait(cluster, name, job.num_nodes, console, minutes, others=bool(without))
        return _read_findings(cluster, pods, job.num_nodes, waits, minutes, console)
    finally:
        _remove(cluster, name, console)


def _print_lines(logs: Mapping[str, Sequence[str]], console: Console) -> None:
    """Prints what pods said as they said it: why there is no report."""
    for node, lines in logs.items():
        for line in lines:
            console.print(printable(f"{node}: {line}"), soft_wrap=True)


def describe_examination(job: Job, place: Place, console: Console, *, full: bool) -> int:
    """Prints the Job, with `full` its YAML, and whether the cluster would take it, if it can be asked."""
    manifest = _manifest(job, place, minutes=30)
    size = f"{job.num_nodes} nodes with {job.gpus_per_node} GPUs each"
    console.print(f"{manifest['metadata']['name']}: {size}: {job.command_line}", soft_wrap=True)
    if full:
        console.print(dump([manifest]), soft_wrap=True)
    cluster = Kubectl(place.context, place.namespace)
    _, silence = greet_if_it_answers(cluster, console)
    say_whether_taken(cluster, [manifest], place, console, silence, needs_claims=True, rights=RIGHTS)
    return 0


def _leave_when_told() -> None:
    """Has SIGTERM and a lost terminal end this process by an exception, as Ctrl-C does, so that the Job is removed."""

    def leave(*_: object) -> None:
        raise SystemExit(STOPPED)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def _manifest(job: Job, place: Place, minutes: float, without: Sequence[str] = ()) -> dict[str, Any]:
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
    # A worker's are Ray's ports, and a hook that waits for a training to save.
    for field in ("ports", "lifecycle"):
        container.pop(field, None)
    among = among_flags(f"{RUNS}/doctor", f"{RUNS}/doctor/{name}", job.num_nodes)
    container |= {"name": "doctor", "command": [literal(word) for word in (*job.command, *among)]}
    node = {"name": "DEEPSCALER_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    container["env"] = [*container.get("env", ()), node]
    if without:
        _keep_off(pod, without)
    # Never, because backoffLimitPerIndex allows nothing else.
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
            # By index: with `backoffLimit` the first node that fails would end the pods of all others.
            "backoffLimitPerIndex": RETRIES_PER_POD,
            "activeDeadlineSeconds": round(60 * minutes) + FORGET,
            "ttlSecondsAfterFinished": FORGET,
            "template": template,
        },
    }
    check(dump([manifest]), name)
    return manifest


def _keep_off(pod: dict[str, Any], nodes: Sequence[str]) -> None:
    """Adds to a pod's affinity, in every term of it, that some nodes are not for it."""
    # By metadata.name, because the label `kubernetes.io/hostname` may differ from it; a field takes one value only.
    off = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in sorted(nodes)]
    affinity = pod.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {"nodeSelectorTerms": [{}]})
    # Terms are alternatives and the conditions within one add up, so it has to be in each of them.
    for term in required["nodeSelectorTerms"]:
        term["matchFields"] = [*term.get("matchFields", ()), *off]


def _wait(
    cluster: Kubectl, name: str, num_nodes: int, console: Console, minutes: float, *, others: bool
) -> tuple[list[dict[str, Any]], str]:
    """Returns the pods when all have ended, or after some minutes; and then what is waited for.

    Raises ClusterError if `others` are to be examined, and the cluster has no node for one of the pods.
    """
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
        # A queue that has not admitted the job has made no pod; there the wait is the queue's.
        if others and now - started > 60 * min(minutes, SPARE_MINUTES) and not all(map(_node_of, pods)):
            raise ClusterError(f"no other node took its pod within {min(minutes, SPARE_MINUTES):g} minutes ({waits})")
        if now - said > SAY_EVERY:
            said = now
            console.print(printable(f"Job {name}: {len(ended)} of {num_nodes} nodes have answered; {waits}."))
        time.sleep(POLL)


def _node_of(pod: Mapping[str, Any]) -> str:
    return str(pod["spec"].get("nodeName") or "")


def _waited_for(manifest: Mapping[str, Any], pods: Pods, num_nodes: int) -> str:
    """Returns why not all nodes have answered, by what the scheduler, the kubelet or a queue says."""
    if manifest["spec"].get("suspend"):
        return "the queue has not admitted the job"
    reasons = [_reason(pod) for pod in pods]
    reasons += ["no pod was made yet"] * max(0, num_nodes - len(pods))
    told = {reason: reasons.count(reason) for reason in reasons if reason}
    return "; ".join(f"{count} x {reason}" for reason, count in told.items())


def _reason(pod: Mapping[str, Any]) -> str:
    """Returns why a pod has not ended; empty if it has."""
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


def _read_findings(
    cluster: Kubectl, pods: Pods, num_nodes: int, waits: str, minutes: float, console: Console
) -> dict[str, list[str]]:
    """Returns what each pod says, by its node. Raises ClusterError if time was up."""
    logs: dict[str, list[str]] = {}
    for pod in sorted(pods, key=_node_of):
        phase, node = pod.get("status", {}).get("phase"), _node_of(pod)
        if phase not in ("Succeeded", "Failed"):
            continue
        logs[node] = cluster.run("logs", pod["metadata"]["name"]).stdout.splitlines()  # an evicted pod has none
    num_said = sum(bool(lines) for lines in logs.values())
    if waits:
        _print_lines(logs, console)
        raise ClusterError(
            f"{num_said} of {num_nodes} nodes have answered within {minutes:g} minutes; {waits}: see to that, or give"
            " it longer with --minutes"
        )
    if num_said < num_nodes:
        silent = [str(pod["status"].get("reason", "")) for pod in pods if pod.get("status", {}).get("reason")]
        why = f": {', '.join(dict.fromkeys(silent))}" if silent else ""
        console.print(printable(f"Only {num_said} of {num_nodes} nodes said anything{why}."))
    return logs


def _remove(cluster: Kubectl, name: str, console: Console) -> None:
    """Removes the Job with its pods; what fails is only said, for the cluster removes it later by itself."""
    try:
        cluster.ask("delete", "job", name, "--ignore-not-found", "--wait=false", seconds=DELETE_SECONDS)
    except UserError as error:
        console.print(f"The job {name} was not removed ({error}); the cluster does that by itself.", soft_wrap=True)
