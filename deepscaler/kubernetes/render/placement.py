"""On which nodes pods go; what is of one cluster (a kind of GPU, spot nodes, switches) is added by components.

{"affinity": {"nodeAffinity": {...}}, "tolerations": [{"key": "nvidia.com/gpu", ...}]}
"""

from collections.abc import Mapping
from typing import Any

GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
"""Tolerates nodes with GPUs, as clouds and NVIDIA's operator taint them."""

GPU_LABELS = ("nvidia.com/gpu.present", "cloud.google.com/gke-accelerator")
"""Of nodes with GPUs, by NVIDIA's GPU feature discovery and by GKE."""


def anywhere_but_rather_without_gpus() -> dict[str, Any]:
    """Returns the placement of a head.

    Where all nodes have GPUs, a head that did not tolerate their taint would wait for ever while the workers hold every
    GPU. Where there are others it goes to one of those.
    """
    absent = [{"key": label, "operator": "DoesNotExist"} for label in GPU_LABELS]
    preferred = {"weight": 100, "preference": {"matchExpressions": absent}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}}
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
