"""Collects what a cluster shows to a user through kubectl, and names the kinds that the user may not list.

Census(kuberay="1.7.0", nodes=[Node(name="gpu-0", gpus=8, product="NVIDIA-A100-SXM4-80GB", ...)], unlisted=["nodes"])
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deepscaler.kubernetes.check.quantities import quantity
from deepscaler.kubernetes.cluster.kubectl import Kubectl
from deepscaler.kubernetes.cluster.refusals import explain

GIB = 1 << 30
GPU = "nvidia.com/gpu"
FABRIC = re.compile(r"(rdma/.+|vpc\.amazonaws\.com/efa)")
SPOT = {
    "cloud.google.com/gke-spot": "true",
    "kubernetes.azure.com/scalesetpriority": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
}
"""Labels of nodes that a cloud may take away."""

PRODUCTS = ("cloud.google.com/gke-accelerator", "nvidia.com/gpu.product")
"""Labels that name a node's GPU: GKE's own, and that of NVIDIA's GPU feature discovery."""

SHARED = re.compile(
    r"nfs|cephfs|glusterfs|lustre|beegfs|weka|vastdata|juicefs|quobyte|spectrumscale|portworx|pxd\.|longhorn"
    r"|filestore\.csi\.storage\.gke\.io|(efs|fsx)\.csi\.aws\.com|file\.csi\.azure\.com|azure-file"
)
"""Provisioners of volumes that pods on several nodes write (ReadWriteMany) as a POSIX file system."""

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Node:
    """Describes a node that accepts pods, and the resources that it offers them."""

    name: str
    cpus: float
    gib: float
    gpus: int
    labels: Mapping[str, str]
    taints: tuple[str, ...]
    """Taints in the form of `kubectl taint`, KEY=VALUE:EFFECT; only those that keep pods away."""
    fabric: Mapping[str, int]
    """Devices of a fast network, by resource."""
    hugepages: int
    """Size of all 2 MiB pages, in MiB."""
    is_spot: bool

    @property
    def product(self) -> tuple[str, str]:
        """Returns the label that names its GPU, and the name; empty for none."""
        return next(((label, self.labels[label]) for label in PRODUCTS if label in self.labels), ("", ""))


@dataclass(slots=True)
class Census:
    """Holds everything that the cluster showed. A list is empty if nothing exists, or if its kind is in `unlisted`."""

    kuberay: str = ""
    """Version of the operator, by its image; empty if not known."""
    arguments: list[str] = field(default_factory=list)
    has_rayjobs: bool = False
    has_tokens: bool = False
    """True if a RayCluster may request Ray's tokens, as the kit's do."""
    nodes: list[Node] = field(default_factory=list)
    classes: list[Object] = field(default_factory=list)
    claims: list[Object] = field(default_factory=list)
    local_queues: list[Object] = field(default_factory=list)
    cluster_queues: list[Object] = field(default_factory=list)
    flavors: list[Object] = field(default_factory=list)
    topologies: list[Object] = field(default_factory=list)
    volcano_queues: list[str] = field(default_factory=list)
    kai_queues: list[str] = field(default_factory=list)
    priorities: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    """Kinds that the user may not list."""


def take_census(cluster: Kubectl) -> Census:
    """Collects the census of a cluster. Raises ClusterError if it does not answer."""
    census = Census()

    def listed(kind: str, *words: str) -> list[Object]:
        found = _list(cluster, kind, *words)
        if found is None:
            census.unlisted.append(kind)
        return found or []

    census.has_rayjobs = "rayjobs.ray.io" in cluster.ask("api-resources", "--api-group=ray.io", "--output=name")
    if census.has_rayjobs:
        explained = cluster.run("explain", "rayjob.spec.rayClusterSpec.authOptions")
        census.has_tokens = explained.returncode == 0
    for deployment in listed("deployments.apps", "--all-namespaces"):
        _read_operator(census, deployment)
    census.nodes = [_node(one) for one in listed("nodes") if not one["spec"].get("unschedulable")]
    census.classes = listed("storageclasses.storage.k8s.io")
    census.claims = listed("persistentvolumeclaims")
    census.local_queues = listed("localqueues.kueue.x-k8s.io")
    census.cluster_queues = listed("clusterqueues.kueue.x-k8s.io")
    census.flavors = listed("resourceflavors.kueue.x-k8s.io")
    census.topologies = listed("topologies.kueue.x-k8s.io")
    census.volcano_queues = list(map(name_of, listed("queues.scheduling.volcano.sh")))
    census.kai_queues = list(map(name_of, listed("queues.scheduling.run.ai")))
    census.priorities = list(map(name_of, listed("priorityclasses.scheduling.k8s.io")))
    return census


def name_of(one: Object) -> str:
    """Returns an object's name."""
    return str(one["metadata"]["name"])


def is_shared(storage_class: Object) -> bool:
    """Returns whether a storage class is known to make volumes for ReadWriteMany."""
    return bool(SHARED.search(storage_class["provisioner"]))


def is_default(storage_class: Object) -> bool:
    """Returns whether claims that name no class get this one."""
    notes = storage_class["metadata"].get("annotations") or {}
    return bool(notes.get("storageclass.kubernetes.io/is-default-class") == "true")


def _list(cluster: Kubectl, kind: str, *words: str) -> list[Object] | None:
    """Returns all objects of a kind, empty if the cluster lacks the kind; None if the user may not list them."""
    done = cluster.run("get", kind, *words, "--output", "json")
    if not done.returncode:
        found: list[Object] = json.loads(done.stdout)["items"]
        return found
    # "the server doesn't have a resource type": the CRD is not installed. kubectl has no exit code of its own
    # for it.
    if "have a resource type" in done.stderr:
        return []
    if "(Forbidden)" in done.stderr:
        return None
    raise explain(done.stderr or done.stdout, cluster.context, cluster.namespace)


def _read_operator(census: Census, deployment: Object) -> None:
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        if match := re.search(r"(?:^|/)(?:kuberay/operator|kuberay-operator):v?([\w.-]+)", container["image"]):
            census.kuberay = match[1]
            census.arguments = [*container.get("command", ()), *container.get("args", ())]


def _node(one: Object) -> Node:
    # Not `capacity`, of which the system and the kubelet keep a part.
    room, labels = one["status"]["allocatable"], one["metadata"].get("labels") or {}
    taints = [taint for taint in one["spec"].get("taints") or () if taint["effect"] != "PreferNoSchedule"]
    return Node(
        name=name_of(one),
        cpus=float(quantity(room["cpu"])),
        gib=float(quantity(room["memory"]) / GIB),
        gpus=int(quantity(room.get(GPU, 0))),
        labels=labels,
        taints=tuple(
            taint["key"] + (f"={taint['value']}" if taint.get("value") else "") + f":{taint['effect']}"
            for taint in taints
        ),
        # A device plug-in that has gone leaves its resource behind with the count 0.
        fabric={name: int(quantity(count)) for name, count in room.items() if FABRIC.fullmatch(name) and count != "0"},
        hugepages=int(quantity(room.get("hugepages-2Mi", 0)) / (1 << 20)),
        is_spot=any(labels.get(name) == value for name, value in SPOT.items()),
    )
