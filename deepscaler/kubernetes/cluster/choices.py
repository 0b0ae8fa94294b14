"""Chooses components and options of a place from a cluster's census."""

import math
import re
from collections.abc import Sequence

from deepscaler.kubernetes.cluster.census import GPU, Census, Node, is_default, is_shared, name_of
from deepscaler.kubernetes.cluster.findings import Findings, beside, first
from deepscaler.kubernetes.cluster.scheduling import about_kuberay, choose_queue
from deepscaler.kubernetes.render.machines import GPU_WORKER, HEAD
from deepscaler.kubernetes.render.plans import GPUS_PER_NODE

OF_PRODUCT = {
    ("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"): "a100",
    ("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"): "h100",
    ("cloud.google.com/gke-accelerator", "nvidia-h100-80gb"): "h100-gke",
}
"""The kit's components by label and GPU; `node_labels` chooses any other GPU."""

OF_FABRIC = {"rdma/hca_shared_devices_a": 1, "vpc.amazonaws.com/efa": 4}
"""Resources that the components rdma and efa request."""

EFA_HUGEPAGES = 5120
"""MiB of hugepages that the component efa requests."""

PASSING = re.compile(r"nvidia\.com/gpu(=.*)?:NoSchedule|node\.kubernetes\.io/")
"""Taints that every pod of a job tolerates already, and those of nodes in trouble."""

SHARE = 0.9
"""Share of a node's resources for a worker; the rest is for pods that run on every node."""


def judge(census: Census, namespace: str) -> Findings:
    """Returns the components and options that fit the census."""
    found = Findings()
    found.notes += about_kuberay(census)
    choose_queue(census, found)
    nodes = _gpu_nodes(census, found)
    if nodes:
        _network(nodes, found)
        _sizes(nodes, [one for one in census.nodes if not one.gpus], found)
    if "deepscaler-training" in census.priorities:
        found.components.append("priority")
        found.why.append("PriorityClass deepscaler-training")
    _storage(census, found, namespace)
    if census.unlisted:
        # both KAI and Volcano call their kind `queues`, so only the whole name says whose it is
        told = ", ".join(kind.partition(".")[0] if "queues.sch" not in kind else kind for kind in census.unlisted)
        found.notes.append(
            f"Your user may not list {told}: what they would tell is left out; ask who runs the cluster."
        )
    return found


def _gpu_nodes(census: Census, found: Findings) -> list[Node]:
    """Returns the nodes of the kind with most GPUs, after choosing a component or labels for them."""
    kinds: dict[tuple[str, str], list[Node]] = {}
    for node in census.nodes:
        if node.gpus:
            kinds.setdefault(node.product, []).append(node)
    if not kinds:
        if "nodes" not in census.unlisted:
            found.notes.append(f"No node has {GPU} (an autoscaler may make some): worker sizes are the kit's defaults.")
        return []
    product, nodes = max(kinds.items(), key=lambda item: sum(node.gpus for node in item[1]))
    # The fewest, since every worker asks for the same number.
    per_node = min(node.gpus for node in nodes)
    told = f"{len(nodes)} nodes with {per_node} x {product[1] or 'GPUs without a label'}"
    if len(kinds) > 1:
        others = [f"{len(more)} with {name or 'no label'}" for (_, name), more in kinds.items() if more is not nodes]
        told += f" (also: {', '.join(others)})"
    if product in OF_PRODUCT:
        found.components.append(OF_PRODUCT[product])
    elif product[0]:
        found.options.append(("node_labels", {product[0]: product[1]}, "of the workers' nodes"))
    found.why.append(told)
    if per_node != GPUS_PER_NODE:
        found.notes.append(f"A node has {per_node} GPUs, recipes are for 8: add --set gpus_per_node={per_node}.")
    taints = [one for one in nodes[0].taints if all(one in node.taints for node in nodes) and not PASSING.match(one)]
    if any(node.is_spot for node in nodes):
        share = "all" if all(node.is_spot for node in nodes) else "some"
        found.components.append("spot")
        found.why.append(f"{share} of them are spot nodes")
        taints = [
            one for one in taints if not re.match(r"cloud\.google\.com/gke-spot=|kubernetes\.azure\.com/scaleset", one)
        ]
    found.options.append(("tolerations", taints, "taints of these nodes"))
    return nodes


def _network(nodes: Sequence[Node], found: Findings) -> None:
    """Chooses the component of a fast network that all these nodes have."""
    common = sorted(set.intersection(*(set(node.fabric) for node in nodes)))
    if not common:
        if len(nodes) > 1:
            found.notes.append("No rdma/... and no vpc.amazonaws.com/efa on the GPU nodes: NCCL uses TCP between them.")
        return
    resource = first(common, *OF_FABRIC)
    count = min(node.fabric[resource] for node in nodes)
    is_efa = resource.startswith("vpc")
    found.components.append("efa" if is_efa else "rdma")
    found.why.append(f"{count} x {resource}" if is_efa else resource)
    if resource not in OF_FABRIC:
        found.options.append(("fabric_resource", resource, beside(common, resource)))
    if is_efa and count != OF_FABRIC[resource]:
        found.options.append(("fabric_count", count, "of it on each of these nodes"))
    if is_efa and any(node.hugepages < EFA_HUGEPAGES for node in nodes):
        found.notes.append(f"efa asks for {EFA_HUGEPAGES}Mi of hugepages-2Mi, which these nodes lack: no job starts.")
    if not is_efa:
        found.notes.append("The component rdma names the interface eth0: give `interface`, if NCCL is to use another.")


def _sizes(nodes: Sequence[Node], others: Sequence[Node], found: Findings) -> None:
    """Makes workers, and the head if no other node has room for it, fit the smallest GPU node."""
    cpus, gib = min(node.cpus for node in nodes) * SHARE, min(node.gib for node in nodes) * SHARE
    head_cpu, head_gib = float(HEAD.cpu), _gib(HEAD.memory)
    if not any(node.cpus * SHARE >= head_cpu and node.gib * SHARE >= head_gib and not node.taints for node in others):
        cpus, gib = cpus - head_cpu, gib - head_gib
        found.notes.append("No node without GPUs has room for a head: it goes beside a worker.")
    told = f"fits what a node has: {min(node.cpus for node in nodes):g} CPUs, {min(node.gib for node in nodes):.0f} GiB"
    # At most what the kit's own workers ask for: a larger request only keeps a pod waiting.
    cpu, memory = math.floor(min(cpus, float(GPU_WORKER.cpu))), math.floor(min(gib, _gib(GPU_WORKER.memory)))
    if cpu < 1 or memory < 1:
        found.notes.append("The GPU nodes are too small for a worker and a head: give head_cpu and head_memory.")
        return
    found.options.append(("worker_cpu", str(cpu), told))
    found.options.append(("worker_memory", f"{memory}Gi", told))
    if memory < _gib(GPU_WORKER.memory):
        # the share that GPU_WORKER has: /dev/shm counts against the pod's memory
        found.options.append(("shared_memory", f"{max(1, memory // 4)}Gi", "a quarter of the worker's memory"))


def _gib(quantity: str) -> float:
    return float(quantity.removesuffix("Gi"))


def _storage(census: Census, found: Findings, namespace: str) -> None:
    """Chooses a storage class for ReadWriteMany, unless the namespace has the claims."""
    claims = {name_of(one): one["spec"].get("accessModes") or [] for one in census.claims}
    if {"deepscaler-runs", "deepscaler-cache"} <= claims.keys():
        found.notes.append(f"Namespace {namespace} has the claims deepscaler-runs and deepscaler-cache.")
        return
    if shared := [name for name, modes in claims.items() if "ReadWriteMany" in modes]:
        told = ", ".join(shared)
        found.notes.append(f"Claims for ReadWriteMany: {told}; name yours as runs_claim, cache_claim or data_claim.")
    known = [one for one in census.classes if is_shared(one)]
    default = [one for one in census.classes if is_default(one)]
    if known and not any(map(is_shared, default)):
        names = list(map(name_of, known))
        told = f"{known[0]['provisioner']}, for ReadWriteMany; {beside(names, names[0])}"
        found.options.append(("storage_class", names[0], told))
    elif not known and "storageclasses.storage.k8s.io" not in census.unlisted:
        names = [f"{name_of(one)} ({one['provisioner']})" for one in census.classes]
        found.notes.append(
            f"No storage class is known for ReadWriteMany{', of ' + ', '.join(names) if names else ''}: name one that"
            " is as storage_class, or copy k8s/storage/nfs and name the copy as `storage`."
        )
