"""Knows what connects the machines of a job: the variables that NCCL needs for it, and the adapters of a machine.

>>> fabric_variables("efa")
{"NCCL_NET": "AWS Libfabric"}

Written for NCCL 2.28, which the images bring. NCCL finds a fabric by itself, and whatever keeps it from doing so (a
device that is not passed on, a library that is missing) makes it fall back to TCP without a word: the run is slow for
weeks. With NCCL_NET it fails at the start instead. Beyond that only what NCCL cannot find out is set.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deepscaler.system.files import text_of

Fabric = Literal["ib", "roce", "efa", "none"]

NAMES: dict[Fabric, str] = {"ib": "InfiniBand", "roce": "RoCE", "efa": "EFA", "none": "TCP"}

_VARIABLES: dict[Fabric, dict[str, str]] = {
    "ib": {
        "NCCL_NET": "IB",
        # an Ethernet adapter of another maker (irdma, bnxt_re) would count as one more adapter of the fabric
        "NCCL_IB_HCA": "mlx5",
    },
    # No NCCL_IB_GID_INDEX: since 2.21 NCCL looks for the address of RoCE v2 itself, and the number 3 of many recipes is
    # that of another address as soon as an interface has one more, as in a pod. No NCCL_IB_TC: which traffic class is
    # lossless is a matter of the switches. No NCCL_IB_HCA: adapters are of many makers.
    "roce": {"NCCL_NET": "IB"},
    # The plugin aws-ofi-nccl takes this name in every version, its own (Libfabric) since some. It chooses libfabric's
    # provider and RDMA itself since 1.7; FI_PROVIDER and FI_EFA_USE_DEVICE_RDMA were for older ones.
    "efa": {"NCCL_NET": "AWS Libfabric"},
    # stronger than NCCL_IB_DISABLE=1, which plugins need not heed
    "none": {"NCCL_NET": "Socket"},
}

SYSTEM = Path("/sys/class/infiniband")
DEVICES = Path("/dev/infiniband")
AMAZON = "0x1d0f"
"""Amazon's number among makers of PCI devices."""


def fabric_variables(fabric: Fabric) -> dict[str, str]:
    """Returns the environment variables that every process with a GPU needs on a fabric."""
    return dict(_VARIABLES[fabric])


def socket_variables(interface: str) -> dict[str, str]:
    """Returns those that keep NCCL's and gloo's first contact on an interface that all machines reach.

    NCCL would take one whose name begins with ib, even if it has no route; gloo the one of the machine's name.
    """
    return {"NCCL_SOCKET_IFNAME": interface, "GLOO_SOCKET_IFNAME": interface}


@dataclass(frozen=True, slots=True)
class Adapter:
    """An RDMA adapter whose link is up."""

    name: str
    """`mlx5_0`, as in NCCL_IB_HCA."""
    fabric: Fabric
    usable: bool
    """True if this process may open it: a container sees every adapter of its machine, and has the devices it got."""


def adapters(system: Path = SYSTEM, devices: Path = DEVICES) -> list[Adapter]:
    """Returns the adapters of this machine with a link that is up; none where there is no RDMA."""
    found = (_adapter(folder, devices) for folder in sorted(system.glob("*")))
    return [one for one in found if one is not None]


def main_fabric(found: list[Adapter]) -> Fabric | None:
    """Returns what most likely connects machines with these adapters; None for no adapter.

    Beside InfiniBand an Ethernet adapter that can RDMA is only the machine's ordinary network.
    """
    fabrics = {one.fabric for one in found}
    order: tuple[Fabric, ...] = ("efa", "ib", "roce")
    return next((fabric for fabric in order if fabric in fabrics), None)


def _adapter(folder: Path, devices: Path) -> Adapter | None:
    ports = [port for port in sorted((folder / "ports").glob("*")) if "ACTIVE" in text_of(port / "state")]
    if not ports:
        return None
    is_efa = text_of(folder / "device/vendor") == AMAZON
    is_ib = any(text_of(port / "link_layer") == "InfiniBand" for port in ports)
    verbs = [devices / entry.name for entry in (folder / "device/infiniband_verbs").glob("uverbs*")]
    return Adapter(folder.name, "efa" if is_efa else "ib" if is_ib else "roce", any(map(Path.exists, verbs)))
