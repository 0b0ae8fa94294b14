"""Checks RayJobs for what KubeRay 1.7 refuses or misreads after the API server has accepted them, as its source shows.

spec.ttlSecondsAfterFinished: 300 without shutdownAfterJobFinishes   the operator: ValidationFailed
spec.submissionMode: HttpMode                                        the operator creates pods, but no job ever runs
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from deepscaler.kubernetes import MAX_NAME
from deepscaler.kubernetes.check.finding import Problem
from deepscaler.system.errors import unknown

MODES = ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode")
TOKENS_SINCE = (2, 52)
KUEUE_QUEUE, KAI_QUEUE = "kueue.x-k8s.io/queue-name", "kai.scheduler/queue"
DELETIONS = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
RESOURCE_FLAGS = ("num-cpus", "num-gpus", "memory", "resources")


def rayjob_problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Yields the problems of a RayJob as a whole."""
    spec = tree.get("spec") or {}
    yield from _name(str(tree["metadata"].get("name", "")))
    yield from _end(spec)
    yield from _submission(spec)
    yield from _limits(spec)
    yield from _queues(tree["metadata"].get("labels") or {}, spec)
    if "rayClusterSpec" in spec:
        for problem in cluster_problems(spec["rayClusterSpec"] or {}):
            yield Problem(f"spec.rayClusterSpec.{problem.path}".rstrip("."), problem.wrong, problem.fix)
    elif not spec.get("clusterSelector"):
        yield Problem("spec", "neither rayClusterSpec nor clusterSelector is given", "give one of them")


def cluster_problems(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """Yields the problems of a Ray cluster."""
    if (spec.get("authOptions") or {}).get("mode") == "token" and _version(spec.get("rayVersion")) < TOKENS_SINCE:
        given = spec.get("rayVersion", "not given")
        yield Problem("rayVersion", f"authOptions.mode is token and rayVersion is {given}", "2.52.0 or later is needed")
    for option, gate in (
        ("networkPolicy", "RayClusterNetworkPolicy"),
        ("tlsOptions", "RayClusterMTLS"),
        ("historyServerOptions", "RayClusterHistoryServer"),
    ):
        if option in spec:
            yield Problem(option, f"is behind the operator's feature gate {gate}, which is off by default", "remove it")
    groups = [("headGroupSpec", spec.get("headGroupSpec") or {})]
    groups += [(f"workerGroupSpecs[{n}]", group) for n, group in enumerate(spec.get("workerGroupSpecs") or [])]
    for path, group in groups:
        yield from _group(path, group, autoscaling=bool(spec.get("enableInTreeAutoscaling")))


def _group(path: str, group: Mapping[str, Any], *, autoscaling: bool) -> Iterator[Problem]:
    params = group.get("rayStartParams") or {}
    if not ((group.get("template") or {}).get("spec") or {}).get("containers"):
        yield Problem(f"{path}.template.spec.containers", "holds no container", "the first one is Ray's")
    if group.get("resources") and any(params.get(flag) for flag in RESOURCE_FLAGS):
        yield Problem(f"{path}.resources", "are given in rayStartParams too", "use one of the two")
    if "labels" in params:
        yield Problem(f"{path}.rayStartParams.labels", "KubeRay refuses it", f"use {path}.labels")
    if path == "headGroupSpec":
        return
    least, wanted, most = (group.get(name) for name in ("minReplicas", "replicas", "maxReplicas"))
    if not autoscaling and (least is None or most is None):
        yield Problem(path, "minReplicas and maxReplicas must both be set without autoscaling", "set them to replicas")
    numbers = [number for number in (least, wanted, most) if isinstance(number, int)]
    if numbers != sorted(numbers):
        fix = "minReplicas <= replicas <= maxReplicas"
        yield Problem(path, f"minReplicas {least}, replicas {wanted}, maxReplicas {most} are out of order", fix)


def _name(name: str) -> Iterator[Problem]:
    if len(name) > MAX_NAME:
        yield Problem("metadata.name", f"{name!r} has {len(name)} characters", f"KubeRay takes {MAX_NAME}: shorten it")
    # Stricter than for other objects, which may begin with a digit: the name also begins that of a Service.
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        fix = "lower case letters, digits and hyphens, a letter first and no hyphen last"
        yield Problem("metadata.name", f"{name!r} is not a DNS-1035 label", fix)


def _end(spec: Mapping[str, Any]) -> Iterator[Problem]:
    shutdown, strategy = bool(spec.get("shutdownAfterJobFinishes")), spec.get("deletionStrategy")
    if not shutdown:
        for field in ("ttlSecondsAfterFinished", "suspend"):
            if spec.get(field):
                yield Problem(f"spec.{field}", "needs shutdownAfterJobFinishes", "set shutdownAfterJobFinishes: true")
    if strategy is None:
        return
    rules, path = strategy.get("deletionRules"), "spec.deletionStrategy"
    if not rules:
        return
    if shutdown:
        fix = "remove one of them: `suspend` and Kueue need shutdownAfterJobFinishes"
        yield Problem(path, "deletionRules exclude shutdownAfterJobFinishes", fix)
    seconds: dict[str, dict[str, int]] = {}
    for number, rule in enumerate(rules):
        where, policy, condition = f"{path}.deletionRules[{number}]", rule["policy"], rule["condition"]
        if policy == "DeleteWorkers" and (spec.get("rayClusterSpec") or {}).get("enableInTreeAutoscaling"):
            yield Problem(where, "DeleteWorkers excludes autoscaling", "use DeleteCluster")
        state = str(condition.get("jobStatus") or condition.get("jobDeploymentStatus"))
        if policy in seconds.setdefault(state, {}):
            yield Problem(where, f"{policy} on {state} is there already", "keep one of them")
        seconds[state][policy] = condition.get("ttlSeconds", 0)
    for state, by_policy in seconds.items():
        waits = [by_policy[policy] for policy in DELETIONS if policy in by_policy]
        if waits != sorted(waits):
            yield Problem(path, f"ttlSeconds on {state} fall", f"in this order they must not: {', '.join(DELETIONS)}")


def _submission(spec: Mapping[str, Any]) -> Iterator[Problem]:
    mode = spec.get("submissionMode", "K8sJobMode")
    if mode not in MODES:
        wrong = str(unknown("mode", str(mode), MODES))
        yield Problem("spec.submissionMode", wrong, "no schema refuses it, and no job would ever run")
    if mode == "SidecarMode":
        for field in ("submitterPodTemplate", "submitterConfig", "clusterSelector"):
            if spec.get(field):
                yield Problem(f"spec.{field}", "SidecarMode does not take it", "remove it, or use HTTPMode")
        pod = ((spec.get("rayClusterSpec") or {}).get("headGroupSpec") or {}).get("template", {}).get("spec", {})
        if pod.get("restartPolicy", "Never") != "Never":
            path = "spec.rayClusterSpec.headGroupSpec.template.spec.restartPolicy"
            yield Problem(path, "SidecarMode needs Never", "set it to Never, or use HTTPMode")
    if mode == "HTTPMode" and spec.get("submitterPodTemplate"):
        yield Problem("spec.submitterPodTemplate", "HTTPMode has no submitter", "remove it")
    # Every character that a shell reads: behind two of them a quoted word with a blank is two words.
    if mode in ("K8sJobMode", "SidecarMode") and re.search(r"[$`\"'\\;&|<>\n]", str(spec.get("entrypoint", ""))):
        wrong = f"in {mode} two shells read the entrypoint, so that quotes protect nothing"
        yield Problem("spec.entrypoint", wrong, "use submissionMode: HTTPMode, where one shell reads it")
    if not str(spec.get("entrypoint", "")).strip() and mode != "InteractiveMode":
        yield Problem("spec.entrypoint", "is empty", "give the command")


def _limits(spec: Mapping[str, Any]) -> Iterator[Problem]:
    for field in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if isinstance(spec.get(field), int) and spec[field] <= 0:
            yield Problem(f"spec.{field}", f"{spec[field]} must be above 0", "give seconds, or leave it out")
    for field in ("backoffLimit", "ttlSecondsAfterFinished"):
        if isinstance(spec.get(field), int) and spec[field] < 0:
            yield Problem(f"spec.{field}", f"{spec[field]} must not be negative", "0 for none")
    for field, value in (("clusterSelector", True), ("submissionMode", "InteractiveMode")):
        given = bool(spec.get(field)) if value is True else spec.get(field) == value
        if given and spec.get("backoffLimit"):
            yield Problem("spec.backoffLimit", f"{field} {'' if value is True else value} excludes it", "remove it")
    try:
        # KubeRay checks nothing but the syntax, and Ray the rest only when the job begins.
        yaml.safe_load(str(spec.get("runtimeEnvYAML", "")))
    except yaml.YAMLError as error:
        yield Problem("spec.runtimeEnvYAML", f"is not YAML: {' '.join(str(error).split())}", "repair it")


def _queues(labels: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Problem]:
    if KUEUE_QUEUE in labels and not spec.get("shutdownAfterJobFinishes"):
        yield Problem("spec.shutdownAfterJobFinishes", "Kueue suspends jobs, which needs it", "set it to true")
    if KAI_QUEUE in labels and spec.get("submissionMode", "K8sJobMode") == "K8sJobMode":
        wrong = "KubeRay refuses KAI's gangs in K8sJobMode: the submitter comes after the gang"
        yield Problem("spec.submissionMode", wrong, "use HTTPMode")


def _version(text: Any) -> tuple[int, int]:
    found = re.match(r"v?(\d+)\.(\d+)", str(text or ""))
    return (int(found[1]), int(found[2])) if found else (0, 0)
