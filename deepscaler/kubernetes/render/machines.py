"""Sets the resources that pods request from their nodes. They are not hyperparameters; an overlay changes them.

GPU_WORKER = Machine(cpu="64", memory="512Gi", shared_memory="128Gi", object_store_gib=64)
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Holds the resources of one pod."""

    cpu: str
    """Requested processors."""
    memory: str
    """Requested memory, which includes /dev/shm."""
    shared_memory: str
    """Size of /dev/shm, for Ray's object store, NCCL, and memory that vLLM and torch share between processes."""
    object_store_gib: float
    """Part of /dev/shm for Ray's object store, which would otherwise take nearly all of it."""

    @property
    def object_store(self) -> str:
        """Returns the size of the object store in bytes, as `ray start` expects it."""
        return str(int(self.object_store_gib * (1 << 30)))

    def resources(self, num_gpus: int = 0) -> dict[str, Any]:
        """Returns the resources of a container."""
        gpus = {"nvidia.com/gpu": str(num_gpus)} if num_gpus else {}
        return {
            "requests": {"cpu": self.cpu, "memory": self.memory, **gpus},
            # Memory as requested, so that no neighbor's need ends a week of training. Processors without a limit,
            # because a quota of their time would throttle the bursts of a step.
            "limits": {"memory": self.memory, **gpus},
        }


HEAD = Machine(cpu="8", memory="32Gi", shared_memory="8Gi", object_store_gib=4)
"""Head: the command itself, Ray's servers, and the merging of a chain's checkpoints, 1.5B parameters in float32."""

GPU_WORKER = Machine(cpu="64", memory="512Gi", shared_memory="128Gi", object_store_gib=64)
"""GPU worker that fits every machine with 8 A100 or H100 from a large cloud (at least 96 processors, 1 TB)."""

CPU_NODE = Machine(cpu="2", memory="11Gi", shared_memory="2Gi", object_store_gib=0.5)
"""CPU node for a 135M model in float32 with forty processes of verl and Ray: at most 10.2 GB, while it saves."""

LOGICAL_CPUS = 20
"""CPUs that a node of the CPU image reports to Ray: places for verl's actors, which mostly wait, not processors."""

SMALL = {
    "requests": {"cpu": "10m", "memory": "64Mi"},
    "limits": {"memory": "64Mi"},
}
"""Resources of a container that copies lines."""

PREPARING = {
    "requests": {"cpu": "1", "memory": "4Gi"},
    "limits": {"memory": "4Gi"},
}
"""Resources of a container that downloads and writes tables."""
