"""Fits a RayJob and the kit's components to a place: sizes, claims, and the cluster's own names of things."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from deepscaler.kubernetes.check.quantities import quantity
from deepscaler.kubernetes.cluster.place import TAINT, Place
from deepscaler.kubernetes.render.pods import CLAIMS

WORKERS = "/spec/rayClusterSpec/workerGroupSpecs/"
NODE_SELECTOR = f"{WORKERS}0/template/spec/nodeSelector"
QUEUE_LABELS = ("kueue.x-k8s.io/queue-name", "volcano.sh/queue-name", "kai.scheduler/queue")
FABRIC = re.compile(r"/resources/(requests|limits)/(rdma~1|vpc\.amazonaws\.com~1)")
TOPOLOGY = "/kueue.x-k8s.io~1podset-preferred-topology"
INTERFACES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")


def fit(rayjob: dict[str, Any], place: Place) -> dict[str, Any]:
    """Returns a RayJob (changed in place) with a place's claims and sizes."""
    cluster = rayjob["spec"]["rayClusterSpec"]
    head, groups = cluster["headGroupSpec"], cluster.get("workerGroupSpecs", [])
    for group in (head, *groups):
        pod = group["template"]["spec"]
        _fit_volumes(pod, place)
        if place.tolerations:
            pod["tolerations"] = [*pod.get("tolerations", ()), *map(_toleration, place.tolerations)]
    if "num-gpus" in head["rayStartParams"]:  # of the CPU image, which pretends to have some
        for group in (head, *groups):
            examined = [one for one in group["template"]["spec"]["initContainers"] if one["name"] == "preflight"]
            for container in (*examined, _ray(group)):
                _fit_size(container, place.cpu_image_cpu, place.cpu_image_memory)
        return rayjob
    _fit_size(_ray(head), place.head_cpu, place.head_memory)
    for group in groups:
        if "nvidia.com/gpu" in _ray(group)["resources"]["limits"]:
            pod = group["template"]["spec"]
            for container in (*pod["initContainers"], *pod["containers"]):
                if "nvidia.com/gpu" in container["resources"]["limits"]:
                    _fit_size(container, place.worker_cpu, place.worker_memory)
            for volume in pod["volumes"]:
                if volume["name"] == "shm":
                    volume["emptyDir"]["sizeLimit"] = place.shared_memory
            # A text, in bytes: the CRD takes texts only, and Ray no unit.
            group["rayStartParams"]["object-store-memory"] = str(int(quantity(place.shared_memory) / 2))
    return rayjob


def adapt(component: Mapping[str, Any], place: Place, *, has_workers: bool) -> dict[str, Any]:
    """Returns a component whose patches use a place's names, without patches of workers if there are none."""
    patches = []
    for patch in component.get("patches") or ():
        operations = patch.get("patch")
        if not isinstance(operations, list):
            patches.append(patch)
            continue
        kept = [_adapted(one, place) for one in operations if has_workers or not one["path"].startswith(WORKERS)]
        if kept:
            patches.append({**patch, "patch": kept})
    return {**component, **({"patches": patches} if "patches" in component else {})}


def node_labels_patch(place: Place, *, is_set: bool) -> list[dict[str, Any]]:
    """Returns the operations that add a place's node labels, to those of a component or as the first."""
    if not is_set:
        return [{"op": "add", "path": NODE_SELECTOR, "value": dict(place.node_labels)}] if place.node_labels else []
    return [
        {"op": "add", "path": f"{NODE_SELECTOR}/{_escaped(name)}", "value": value}
        for name, value in place.node_labels.items()
    ]


def object_patches(place: Place) -> Iterator[dict[str, Any]]:
    """Yields the patches of a kustomization that give the objects beside a RayJob a place's names and image."""
    if place.cluster_queue:
        yield _patch("LocalQueue", "deepscaler", {"/spec/clusterQueue": place.cluster_queue})
        if place.queue:
            yield _patch("LocalQueue", "deepscaler", {"/metadata/name": place.queue}, renames=True)
    elif place.queue and "kueue" in place.components:  # there already, and not ours
        # components/kueue brings this LocalQueue, and a kustomization can leave it out only by a patch that deletes it
        gone = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": {"name": "deepscaler"}}
        yield {"target": {"kind": "LocalQueue", "name": "deepscaler"}, "patch": {**gone, "$patch": "delete"}}
    for name, claim in ((CLAIMS["runs"], place.runs_claim), (CLAIMS["cache"], place.cache_claim)):
        if claim != name:
            yield _patch("PersistentVolumeClaim", name, {"/metadata/name": claim}, renames=True)
    if "monitoring" in place.components:
        pod = "/spec/template/spec"
        values = {f"{pod}/containers/0/image": place.image_of("train")}
        values[f"{pod}/volumes/0/persistentVolumeClaim/claimName"] = place.runs_claim
        yield _patch("Deployment", "deepscaler-metrics", values)


def _patch(kind: str, name: str, values: Mapping[str, str], *, renames: bool = False) -> dict[str, Any]:
    operations = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    options = {"options": {"allowNameChange": True}} if renames else {}
    return {"target": {"kind": kind, "name": name}, "patch": operations, **options}


def _toleration(taint: str) -> dict[str, str]:
    match = TAINT.fullmatch(taint)
    assert match, "a place checks its taints"
    key, value, effect = match.groups()
    how = {"operator": "Exists"} if value is None else {"operator": "Equal", "value": value}
    return {"key": key, **how, **({"effect": effect} if effect else {})}


def _ray(group: Mapping[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = group["template"]["spec"]["containers"][0]
    return container


def _fit_volumes(pod: dict[str, Any], place: Place) -> None:
    names = {CLAIMS["runs"]: place.runs_claim, CLAIMS["cache"]: place.cache_claim}
    for volume in pod["volumes"]:
        if claim := volume.get("persistentVolumeClaim"):
            claim["claimName"] = names.get(claim["claimName"], claim["claimName"])
    if place.data_claim:
        source = {"claimName": place.data_claim, "readOnly": True}
        pod["volumes"].append({"name": "data", "persistentVolumeClaim": source})
        pod["containers"][0]["volumeMounts"].append({"name": "data", "mountPath": "/data", "readOnly": True})


def _fit_size(container: dict[str, Any], cpu: str, memory: str) -> None:
    container["resources"]["requests"] |= {"cpu": cpu, "memory": memory}
    container["resources"]["limits"] |= {"memory": memory}


def _adapted(operation: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Returns an operation with the queue, the fabric's resource and the interface of a place."""
    one, path = dict(operation), operation["path"]
    if place.queue and path.removeprefix("/metadata/labels/") in map(_escaped, QUEUE_LABELS):
        one["value"] = place.queue
    if place.fabric_resource and FABRIC.search(path):
        one["path"] = f"{path.rpartition('/')[0]}/{_escaped(place.fabric_resource)}"
    if place.fabric_count and FABRIC.search(path):
        one["value"] = str(place.fabric_count)
    if place.topology and path.endswith(TOPOLOGY):
        one["value"] = place.topology
    if place.interface and isinstance(one.get("value"), dict) and one["value"].get("name") in INTERFACES:
        one["value"] = {**one["value"], "value": place.interface}
    return one


def _escaped(name: str) -> str:
    """Returns a name as a part of a JSON pointer."""
    # RFC 6901. The tilde first, or that of ~1 would be escaped again.
    return name.replace("~", "~0").replace("/", "~1")
