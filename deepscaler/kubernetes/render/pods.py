"""Builds the pods of a RayCluster: their containers before Ray, beside Ray, and at the end.

head    prepare (waits for the previous attempt; data, model) -> ray start --head, the command; driver-log beside it
worker  preflight (`deepscaler doctor`) -> [KubeRay: wait for the head] -> ray start
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deepscaler.job import Job
from deepscaler.kubernetes.pod.lifecycle import GRACE
from deepscaler.kubernetes.render.environment import Variable, environment, kept_by_node, secrets
from deepscaler.kubernetes.render.machines import PREPARING, SMALL, Machine
from deepscaler.kubernetes.render.placement import GPU_TAINT, anywhere_but_rather_without_gpus, one_a_node

PART_OF = "deepscaler"
SERVICE_ACCOUNT = "deepscaler"
RUNS, CACHE = "/runs", "/cache"
MOUNTS = {"runs": RUNS, "cache": CACHE, "shm": "/dev/shm", "tmp": "/tmp"}  # noqa: S108  in the pod
CLAIMS = {"runs": "deepscaler-runs", "cache": "deepscaler-cache"}

SHORT_GRACE = 90
"""Seconds for a job other than a training, which loses nothing: only its command must end, and be seen to end."""

DRIVER_LOG = "/tmp/ray/session_latest/logs/job-driver-*.log"  # noqa: S108  in the pod, where Ray writes it


def labels(job: Job, component: str) -> dict[str, str]:
    """Returns the labels of a pod, by which the network policy, affinities and monitors select it."""
    return {
        "app.kubernetes.io/part-of": PART_OF,
        "app.kubernetes.io/instance": job.name,
        "app.kubernetes.io/component": component,
    }


def head_pod(
    job: Job, image: str, machine: Machine, *, prepare: Sequence[str], run_dir: str | None, shared: bool
) -> dict[str, Any]:
    """Returns the pod of the head. `run_dir` is the training's folder if the job is a training."""
    grace = GRACE if run_dir else SHORT_GRACE
    ray = _ray_container("ray-head", image, machine.resources(), environment(job))
    ray["lifecycle"] = _before_end(run_dir, "--head", "--grace", str(grace))
    ray["ports"] = [
        {"name": "gcs-server", "containerPort": 6379},
        {"name": "dashboard", "containerPort": 8265},
        {"name": "metrics", "containerPort": 8080},
    ]
    if run_dir:
        # By default Ray kills a stopped job's command after 3 s (job_supervisor.py), in the middle of its save.
        ray["env"].append({"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": str(GRACE)})
    before = _preparation(image, prepare, run_dir if shared else None)
    pod = _pod(job, "head", [_driver_log(image), *before], ray, machine, grace, shared)
    if job.image != "cpu":
        pod["spec"] |= anywhere_but_rather_without_gpus()
    return pod


def worker_pod(
    job: Job, image: str, machine: Machine, *, num_gpus: int, run_dir: str | None, shared: bool
) -> dict[str, Any]:
    """Returns the pod of a worker, which examines its node with the same GPUs and shared memory as the training."""
    resources = machine.resources(num_gpus)
    ray = _ray_container("ray-worker", image, resources, environment(job, kept_by_node(CACHE)))
    if run_dir:
        ray["lifecycle"] = _before_end(run_dir)
    ray["ports"] = [{"name": "metrics", "containerPort": 8080}]
    # the place stays: components count their containers
    # Under tini, because PID 1 ignores SIGTERM without a handler, and a job that is cancelled during its start would
    # hold its GPUs for the whole grace period.
    examine = ["true"] if "--skip-doctor" in job.arguments else ["tini", "--", "deepscaler", "doctor"]
    preflight = _init_container("preflight", image, examine, resources, mounts=tuple(MOUNTS))
    pod = _pod(job, "worker", [preflight], ray, machine, GRACE if run_dir else SHORT_GRACE, shared)
    pod["spec"]["affinity"] = one_a_node(
        {"app.kubernetes.io/instance": job.name, "app.kubernetes.io/component": "worker"}
    )
    if num_gpus:
        pod["spec"]["tolerations"] = [GPU_TAINT]
    return pod


def mount_files(pod: dict[str, Any], config_map: str, path: str) -> None:
    """Adds a ConfigMap to a pod, read-only, where its Ray container finds the files."""
    pod["volumes"].append({"name": "inputs", "configMap": {"name": config_map}})
    pod["containers"][0]["volumeMounts"].append({"name": "inputs", "mountPath": path, "readOnly": True})


def literal(argument: str) -> str:
    """Returns a text that the kubelet leaves unchanged; in a command it expands `$(NAME)` from the environment."""
    return argument.replace("$", "$$")


def _pod(
    job: Job,
    component: str,
    before: list[dict[str, Any]],
    ray: dict[str, Any],
    machine: Machine,
    grace: int,
    shared: bool,
) -> dict[str, Any]:
    return {
        "metadata": {
            "labels": labels(job, component),
            # Otherwise the cluster autoscaler may drain a node that looks half empty, and with it a training.
            "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
        },
        "spec": {
            "serviceAccountName": SERVICE_ACCOUNT,
            "automountServiceAccountToken": False,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": grace,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 0,
                "fsGroup": 1000,
                # By default the kubelet changes the group of every file on the volumes at each start, before a
                # container runs.
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": before,
            "containers": [ray],
            "volumes": [
                *(_volume(name, shared) for name in ("runs", "cache")),
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": machine.shared_memory}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    }


def _volume(name: str, shared: bool) -> dict[str, Any]:
    if not shared:
        return {"name": name, "emptyDir": {}}
    return {"name": name, "persistentVolumeClaim": {"claimName": CLAIMS[name]}}


def _before_end(run_dir: str | None, *flags: str) -> dict[str, Any]:
    """Returns the hook that the kubelet runs before it signals a container."""
    folder = [run_dir] if run_dir else []
    return {"preStop": {"exec": {"command": ["deepscaler", "k8s", "stop", *folder, *flags]}}}


def _ray_container(name: str, image: str, resources: dict[str, Any], env: list[Variable]) -> dict[str, Any]:
    """Returns Ray's container, which must be the first in the pod because KubeRay writes its command."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": resources,
        "env": env,
        "securityContext": _confined(),
        "volumeMounts": _mounts(),
    }


def _init_container(
    name: str,
    image: str,
    command: Sequence[str],
    resources: dict[str, Any],
    *,
    mounts: Sequence[str],
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns a container that runs before Ray, with its command unchanged."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        **(more or {}),
        "command": [literal(part) for part in command],
        "resources": resources,
        "securityContext": _confined(),
        "volumeMounts": _mounts(mounts),
    }


def _preparation(image: str, prepare: Sequence[str], run_dir: str | None) -> list[dict[str, Any]]:
    """Returns the container that waits for the previous attempt and fills the cache before a head starts Ray."""
    wait = ["deepscaler", "k8s", "wait", run_dir] if run_dir else []
    # one container does both at once, because the kubelet runs init containers one after another
    command = [*wait, *(["--"] if wait and prepare else []), *prepare]
    mounts = [*(["runs"] if wait else []), *(["cache", "tmp"] if prepare else [])]
    env = {"env": secrets()} if prepare else {}
    return [_init_container("prepare", image, command, PREPARING, mounts=mounts, more=env)] if command else []


def _driver_log(image: str) -> dict[str, Any]:
    """Returns a sidecar (an init container that stays) that logs the command's output."""
    # Without the loop tail would get the pattern itself for a name, as long as no file fits it.
    script = f"until ls {DRIVER_LOG}; do sleep 1; done >/dev/null 2>&1; exec tail -n +1 -F {DRIVER_LOG}"
    # under tini, because PID 1 ignores SIGTERM without a handler
    command = ["tini", "--", "sh", "-c", script]
    return _init_container("driver-log", image, command, SMALL, mounts=("tmp",), more={"restartPolicy": "Always"})


def _confined() -> dict[str, Any]:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _mounts(names: Sequence[str] = tuple(MOUNTS)) -> list[dict[str, str]]:
    return [{"name": name, "mountPath": MOUNTS[name]} for name in names]
