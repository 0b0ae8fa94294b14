"""Checks pods for faults that no schema finds, and against the kit's own rules for pods.

volumeMounts: [{name: rnus, ...}]     the API server accepts it inside a RayJob, but no pod can be created
containers: [{name: ray-worker, env}]  a strategic merge patch has replaced the list: the image is gone
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepscaler.kubernetes.check.finding import Problem

MEMORY = "memory"
GPU = "nvidia.com/gpu"
SECRET_WORDS = ("TOKEN", "API_KEY", "PASSWORD", "SECRET")
WORKLOADS = {
    "Pod": (),
    "Job": ("template",),
    "Deployment": ("template",),
    "StatefulSet": ("template",),
    "DaemonSet": ("template",),
    "CronJob": ("jobTemplate", "spec", "template"),
}
"""Path of the pod template below `spec`, by kind."""


def pods_of(tree: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the path and spec of every pod template in an object."""
    kind, spec = tree.get("kind"), tree.get("spec") or {}
    if kind in WORKLOADS:
        keys = WORKLOADS[str(kind)]
        yield from _spec_at(spec, "spec", keys)
    if kind == "RayJob":
        yield from _spec_at(spec, "spec", ("submitterPodTemplate",))
        spec = {"spec": spec.get("rayClusterSpec") or {}}
        path = "spec.rayClusterSpec"
    elif kind == "RayCluster":
        spec, path = {"spec": spec}, "spec"
    else:
        return
    yield from _spec_at(spec["spec"], path, ("headGroupSpec", "template"))
    for number, group in enumerate(spec["spec"].get("workerGroupSpecs") or []):
        yield from _spec_at(group, f"{path}.workerGroupSpecs[{number}]", ("template",))


def _spec_at(tree: Any, path: str, keys: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key in keys:
        tree, path = (tree or {}).get(key), f"{path}.{key}"
    if isinstance(tree, dict):
        pod = tree.get("spec") if keys else tree
        if isinstance(pod, dict):
            yield (f"{path}.spec" if keys else path), pod


def pod_problems(path: str, pod: Mapping[str, Any]) -> Iterator[Problem]:
    """Yields the problems of one pod."""
    volumes = {volume.get("name"): volume for volume in pod.get("volumes") or []}
    yield from _shared_memory(path, pod, volumes)
    for group in ("initContainers", "containers"):
        for number, container in enumerate(pod.get(group) or []):
            where = f"{path}.{group}[{number}]"
            yield from _mounts(where, container, volumes)
            yield from _container(where, container)
            yield from _confinement(where, container, pod)


def _mounts(path: str, container: Mapping[str, Any], volumes: Mapping[Any, Any]) -> Iterator[Problem]:
    for number, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("name") not in volumes:
            valid = ", ".join(sorted(map(str, volumes))) or "none"
            wrong = f"no volume {mount.get('name')!r} is in the pod; there: {valid}"
            yield Problem(f"{path}.volumeMounts[{number}].name", wrong, "name one of them, or add it to volumes")


def _container(path: str, container: Mapping[str, Any]) -> Iterator[Problem]:
    if not container.get("image"):
        fix = "a strategic merge patch of a RayJob replaces whole lists: patch with JSON 6902 (op, path, value)"
        yield Problem(f"{path}.image", f"container {container.get('name')!r} has none", fix)
    resources = container.get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for name in (MEMORY, GPU):
        # Kubernetes takes the limit for a request that is not given.
        asked, limit = requests.get(name, limits.get(name)), limits.get(name)
        if asked is not None and str(asked) != str(limit):
            wrong = f"{name}: {asked} requested, {limit or 'no'} limit"
            fix = "GPUs cannot be shared out" if name == GPU else "a node that runs short would kill a week of training"
            yield Problem(f"{path}.resources", wrong, f"make them equal: {fix}")
    names = [variable.get("name") for variable in container.get("env") or []]
    for name in sorted({name for name in names if names.count(name) > 1}, key=str):
        yield Problem(f"{path}.env", f"{name} is set twice", "keep one")
    for number, variable in enumerate(container.get("env") or []):
        # By the end of the name: HF_TOKEN is a secret, RAY_AUTH_TOKEN_PATH and MAX_TOKENS are none.
        if variable.get("value") and str(variable.get("name")).upper().endswith(SECRET_WORDS):
            fix = "use valueFrom.secretKeyRef: who can read the RayJob would read it"
            yield Problem(f"{path}.env[{number}]", f"{variable['name']} is written out", fix)


def _confinement(path: str, container: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[Problem]:
    """Yields what a namespace of the level `restricted` refuses, which shows only when the operator creates the pod."""
    shared, own = pod.get("securityContext") or {}, container.get("securityContext") or {}
    lacking = []
    # What a container says itself wins over its pod.
    if not own.get("runAsNonRoot", shared.get("runAsNonRoot")):
        lacking.append("runAsNonRoot: true")
    # Not given means true.
    if own.get("allowPrivilegeEscalation") is not False:
        lacking.append("allowPrivilegeEscalation: false")
    if "ALL" not in ((own.get("capabilities") or {}).get("drop") or []):
        lacking.append("capabilities: {drop: [ALL]}")
    if not (own.get("seccompProfile") or shared.get("seccompProfile")):
        lacking.append("seccompProfile: {type: RuntimeDefault}")
    if lacking:
        wrong = f"lacks {', '.join(lacking)}"
        yield Problem(f"{path}.securityContext", wrong, "a namespace of the level `restricted` refuses the pod")


def _shared_memory(path: str, pod: Mapping[str, Any], volumes: Mapping[Any, Any]) -> Iterator[Problem]:
    mounted = {
        mount.get("name")
        for container in pod.get("containers") or []
        for mount in container.get("volumeMounts") or []
        if mount.get("mountPath") == "/dev/shm"  # noqa: S108  the mount's name, nothing is written
    }
    for name in sorted(mounted & set(volumes), key=str):
        directory = volumes[name].get("emptyDir")
        if directory is None or directory.get("medium") != "Memory" or not directory.get("sizeLimit"):
            fix = "emptyDir: {medium: Memory, sizeLimit: ...}"
            yield Problem(f"{path}.volumes", f"{name}, at /dev/shm, is not in memory with a size", fix)
