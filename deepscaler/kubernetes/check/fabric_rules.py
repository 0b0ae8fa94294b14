"""Checks that a container requests a fabric's device if and only if its NCCL variables name that fabric.

resources: {limits: {vpc.amazonaws.com/efa: 4}} without NCCL_NET   NCCL may fall back to TCP, and nobody notices
env: [{name: NCCL_NET, value: IB}] without a device                 NCCL fails at the start: no such network
"""

from collections.abc import Iterator, Mapping
from typing import Any

from deepscaler.fabric import fabric_variables
from deepscaler.kubernetes.check.finding import Problem

EFA_DEVICE = "vpc.amazonaws.com/efa"
RDMA_DEVICES = "rdma/"
"""Prefix of all devices of the k8s-rdma-shared-dev-plugin; InfiniBand and RoCE look the same."""

NO_FABRIC = ("nvidia.com/gpu", "amd.com/gpu")
"""Devices that are none of a fabric. Any other one may be: operators name them as they like."""


def fabric_problems(path: str, pod: Mapping[str, Any]) -> Iterator[Problem]:
    """Yields the problems of one pod."""
    for number, container in enumerate(pod.get("containers") or []):  # a preflight need not see the fabric
        resources = container.get("resources") or {}
        limits = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
        devices = [name for name in limits if "/" in name and name not in NO_FABRIC]
        has_claims = bool(resources.get("claims"))  # dynamic allocation: the device's name is elsewhere
        yield from _container(f"{path}.containers[{number}]", container, devices, has_claims)


def _container(path: str, container: Mapping[str, Any], devices: list[str], has_claims: bool) -> Iterator[Problem]:
    variables = {entry.get("name"): entry.get("value") for entry in container.get("env") or []}
    network = str(variables["NCCL_NET"]) if variables.get("NCCL_NET") else ""
    efa, ib, tcp = (fabric_variables(fabric)["NCCL_NET"] for fabric in ("efa", "ib", "none"))
    wanted = {device: efa if device == EFA_DEVICE else ib for device in devices if _is_known(device)}
    for device, name in wanted.items():
        if "NCCL_NET" not in variables:
            fix = f"set NCCL_NET to {name!r}: without it NCCL falls back to TCP where anything is missing"
            yield Problem(f"{path}.env", f"{device} is asked for, and NCCL is not told to use it", fix)
        # NCCL compares the name of a network without regard to case (strcasecmp in its net.cc).
        elif network and network.lower() != name.lower():
            fix = f"set it to {name!r}, or leave the device to others"
            yield Problem(f"{path}.env", f"NCCL_NET is {network!r}, and {device} is asked for", fix)
    if not devices and not has_claims and network and network.lower() != tcp.lower():
        fix = "use a component of k8s/components (rdma, roce, efa): without a device NCCL fails at the start"
        yield Problem(f"{path}.env", f"NCCL_NET is {network!r}, and no device of a fabric is asked for", fix)


def _is_known(device: str) -> bool:
    return device == EFA_DEVICE or device.startswith(RDMA_DEVICES)
