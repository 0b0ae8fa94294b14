"""Answers what verl asks of `torch.cuda`, for the CPU."""

import resource

import psutil
import torch
from torch.cpu import current_device, is_available, set_device, synchronize

__all__ = ["current_device", "is_available", "set_device", "synchronize"]


def device_count() -> int:
    """Returns 1: each rank is alone on its pretended device."""
    return 1


def get_device_name(_: int | None = None) -> str:
    """Returns a name for which verl knows no peak speed."""
    return "CPU"


def empty_cache() -> None:
    """Does nothing: the CPU's allocator keeps no cache."""


def manual_seed(seed: int) -> None:
    """Seeds the only generator."""
    torch.manual_seed(seed)


manual_seed_all = manual_seed


def memory_allocated(_: int | None = None) -> int:
    """Bytes this process holds in memory."""
    return int(psutil.Process().memory_info().rss)


memory_reserved = memory_allocated


def max_memory_allocated(_: int | None = None) -> int:
    """Returns the most bytes that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


max_memory_reserved = max_memory_allocated


def mem_get_info(_: int | None = None) -> tuple[int, int]:
    """Bytes free and bytes in all, of the machine."""
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def get_rng_state(_: int | None = None) -> torch.Tensor:
    """Returns the state of the only generator, which verl keeps in checkpoints."""
    return torch.get_rng_state()


def set_rng_state(state: torch.Tensor, _: int | None = None) -> None:
    """Restores the state of the only generator."""
    torch.set_rng_state(state)
