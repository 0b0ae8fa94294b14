"""What a pod asks of its node: no hyperparameter, only room. An overlay changes it for a cluster.

GPU_WORKER = Machine(cpu="64", memory="512Gi", shared_memory="128Gi", object_store_gib=64)
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The room of one pod."""

    cpu: str
    """Asked for, not limited: a quota of processor time would throttle the bursts of a step."""
    memory: str
    """Asked for and limited alike, so that no neighbour's need ends a week of training; /dev/shm counts into it."""
    shared_memory: str
    """Of /dev/shm: Ray's object store, NCCL, and what vLLM and torch share between processes."""
    object_store_gib: float
    """Of it for Ray, which would take nearly all by itself."""

    @property
    def object_store(self) -> str:
        """Bytes, as `ray start` wants them."""
        return str(int(self.object_store_gib * (1 << 30)))

    def resources(self, num_gpus: int = 0) -> dict[str, Any]:
        """Of a container."""
        gpus = {"nvidia.com/gpu": str(num_gpus)} if num_gpus else {}
        return {
            "requests": {"cpu": self.cpu, "memory": self.memory, **gpus},
            "limits": {"memory": self.memory, **gpus},
        }


HEAD = Machine(cpu="8", memory="32Gi", shared_memory="8Gi", object_store_gib=4)
"""The command itself, and Ray's own servers. A chain merges checkpoints here: 1.5B parameters in float32."""

GPU_WORKER = Machine(cpu="64", memory="512Gi", shared_memory="128Gi", object_store_gib=64)
"""Fits every machine with 8 A100 or H100 that a large cloud rents out (96 or more processors, 1 TB or more)."""

CPU_NODE = Machine(cpu="2", memory="11Gi", shared_memory="2Gi", object_store_gib=0.5)
"""A 135M model in float32 with verl's and Ray's forty processes around it: 10.2 GB at the most, when it saves."""

LOGICAL_CPUS = 20
"""What a node of the CPU image tells Ray: places for verl's actors, which mostly wait, not processors."""

SMALL = {
    "requests": {"cpu": "10m", "memory": "64Mi"},
    "limits": {"memory": "64Mi"},
}
"""Of a container that copies lines."""

PREPARING = {
    "requests": {"cpu": "1", "memory": "4Gi"},
    "limits": {"memory": "4Gi"},
}
"""Of a container that downloads and writes tables."""
