"""Finds what NCCL would use between machines, and what keeps it from the fabric that it has to use."""

import os
import resource
import subprocess
from collections.abc import Iterator

from deepscaler.doctor.finding import Finding, judged
from deepscaler.fabric import NAMES, Adapter, Fabric, adapters, fabric_variables, main_fabric
from deepscaler.recipes.recipe import Device
from deepscaler.system.processes import python_command

DEADLINE = 60
"""Seconds for a library to load."""


def check_fabric(device: Device = "cuda") -> Finding:
    """Compares the fabric with NCCL_NET, and demands none without it: one machine alone needs none."""
    if device != "cuda":
        return Finding("fabric", "skip", "needs a GPU, and this is for a CPU")
    there = adapters()
    fabric = main_fabric(there) or "none"
    lacking = "; ".join(_lacking(there, fabric))
    names = ", ".join(one.name for one in there if one.fabric == fabric) or "no RDMA adapter"
    used: Fabric = "none" if lacking else fabric
    detail = f"{names}: NCCL would use {NAMES[used]}" + (f" ({lacking})" if lacking and there else "")
    wanted = os.environ.get("NCCL_NET", "")
    usable = (fabric_variables(one)["NCCL_NET"].lower() for one in (used, "none"))
    # NCCL compares the name without regard to case, and its sockets are always there.
    ok = not wanted or wanted.lower() in usable
    return judged("fabric", ok, detail, f"NCCL_NET={wanted} makes it fail instead: repair that, or change the fabric")


def _lacking(there: list[Adapter], fabric: Fabric) -> Iterator[str]:
    """Returns what an RDMA fabric needs and this process has not."""
    if not any(one.usable for one in there if one.fabric == fabric):
        yield "its devices in /dev/infiniband are not here"
    library = _plugin() if fabric == "efa" else "libibverbs.so.1"
    if there and not _loads(library):
        yield f"{library} does not load"
    # RDMA pins the memory that adapters read, all of which counts against this limit.
    pinned = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if pinned != resource.RLIM_INFINITY:
        yield f"only {pinned >> 10} kB of memory may be pinned: ulimit -l unlimited"


def _plugin() -> str:
    """Returns the library that NCCL looks for, by its whole name or what follows libnccl-net-."""
    name = os.environ.get("NCCL_NET_PLUGIN", "")
    return name if ".so" in name else f"libnccl-net-{name}.so" if name else "libnccl-net.so"


def _loads(library: str) -> bool:
    """Loads a library in a process of its own: a plugin may do anything when it is loaded."""
    command = python_command("-c", f"import ctypes; ctypes.CDLL({library!r})")
    try:
        return subprocess.run(command, capture_output=True, timeout=DEADLINE, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False
