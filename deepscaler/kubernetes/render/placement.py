"""Decides on which nodes pods go; components add what is particular to a cluster (a GPU model, spot nodes, switches).

{"affinity": {"nodeAffinity": {...}}, "tolerations": [{"key": "nvidia.com/gpu", ...}]}
"""

from collections.abc import Mapping
from typing import Any

GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
"""Toleration of the taint that clouds and NVIDIA's operator set on nodes with GPUs."""

GPU_LABELS = ("nvidia.com/gpu.present", "cloud.google.com/gke-accelerator")
"""Labels of nodes with GPUs, from NVIDIA's GPU feature discovery and from GKE."""


def anywhere_but_rather_without_gpus() -> dict[str, Any]:
    """Returns the placement of a head, which goes to a node without GPUs if there is one."""
    absent = [{"key": label, "operator": "DoesNotExist"} for label in GPU_LABELS]
    preferred = {"weight": 100, "preference": {"matchExpressions": absent}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}}
    # where all nodes have GPUs, a head that did not tolerate their taint would wait forever
    return {"affinity": affinity, "tolerations": [GPU_TAINT]}


def one_a_node(labels: Mapping[str, str]) -> dict[str, Any]:
    """Returns the affinity of workers with these labels: never two on a node, all in one zone if possible."""
    mine = {"labelSelector": {"matchLabels": dict(labels)}}
    zone = {"weight": 100, "podAffinityTerm": {"topologyKey": "topology.kubernetes.io/zone", **mine}}
    return {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname", **mine}]
        },
        "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [zone]},
    }
