"""What verl asks of `torch.cuda`, answered for the CPU."""

import resource

import psutil
import torch
from torch.cpu import current_device, is_available, set_device, synchronize

__all__ = ["current_device", "is_available", "set_device", "synchronize"]


def device_count() -> int:
    """Each rank is alone on its pretended device."""
    return 1


def get_device_name(_: int | None = None) -> str:
    """A name verl knows no peak speed of."""
    return "CPU"


def empty_cache() -> None:
    """The CPU's allocator keeps none."""


def manual_seed(seed: int) -> None:
    """Seed the one generator there is."""
    torch.manual_seed(seed)


manual_seed_all = manual_seed


def memory_allocated(_: int | None = None) -> int:
    """Bytes this process holds in memory."""
    return int(psutil.Process().memory_info().rss)


memory_reserved = memory_allocated


def max_memory_allocated(_: int | None = None) -> int:
    """The most bytes this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


max_memory_reserved = max_memory_allocated


def mem_get_info(_: int | None = None) -> tuple[int, int]:
    """Bytes free and bytes in all, of the machine."""
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def get_rng_state(_: int | None = None) -> torch.Tensor:
    """Of the one generator there is; verl keeps it in checkpoints."""
    return torch.get_rng_state()


def set_rng_state(state: torch.Tensor, _: int | None = None) -> None:
    """Go on with a generator's state."""
    torch.set_rng_state(state)
