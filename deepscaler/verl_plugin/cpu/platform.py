"""Presents the CPU to verl as a platform. Every verl process imports this, right after verl itself.

VERL_PLATFORM=cpu VERL_USE_EXTERNAL_MODULES=deepscaler.verl_plugin.cpu.platform
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from types import ModuleType
from typing import Any

from verl.plugin.platform import PlatformBase, PlatformRegistry

SUPPORTED_VERL = "0.9.1"
if metadata.version("verl") != SUPPORTED_VERL:
    raise ImportError(
        f"deepscaler.verl_plugin.cpu was made for verl {SUPPORTED_VERL}, this is {metadata.version('verl')}"
    )


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):  # type: ignore[misc]
    """One rank, one process, torch's CPU kernels; Ray calls its place a GPU, because verl asks for GPUs."""

    device_name = "cpu"
    vendor_name = "cpu"

    @property
    def device_module(self) -> ModuleType:
        """Returns the module that stands in for `torch.cuda`."""
        from deepscaler.verl_plugin.cpu import device  # noqa: PLC0415

        return device

    def is_available(self) -> bool:
        """Always."""
        return True

    def current_device(self) -> Any:
        """Returns the device's name, which torch accepts instead of a GPU's index."""
        return "cpu"

    def device_count(self) -> int:
        """Returns 1: each rank sees one device."""
        return 1

    def set_device(self, device_index: int) -> None:
        """Does nothing: there is no device to select."""

    def synchronize(self, device_index: int | None = None) -> None:
        """Kernels have finished when they return."""

    def manual_seed(self, seed: int) -> None:
        """Seeds torch."""
        self.device_module.manual_seed(seed)

    manual_seed_all = manual_seed

    def set_allocator_settings(self, settings: str) -> None:
        """Does nothing: no setting applies."""

    def empty_cache(self) -> None:
        """Does nothing: there is no cache."""

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        """Returns nothing: this is not a CUDA device."""
        return None, None

    def communication_backend_name(self) -> str:
        """Collectives between ranks."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """Returns the variable that Ray sets for a pretended GPU."""
        return "CUDA_VISIBLE_DEVICES"

    def ray_resource_name(self) -> str:
        """Returns the resource that stands for a GPU (see the package)."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """Returns nothing: Ray may set all variables."""
        return []

    def is_ipc_supported(self) -> bool:
        """Returns False: there is no device memory to share."""
        return False

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """Does nothing: there is no profiler."""
        yield

    def profiler_start(self) -> None:
        """Does nothing: there is no profiler."""

    def profiler_stop(self) -> None:
        """Does nothing: there is no profiler."""

    def cudart(self) -> None:
        """Returns nothing: there is no CUDA."""


def _ask_for_gloo_once() -> None:
    """Has verl ask for gloo once: its backend `cpu:gloo,<device>:<backend>` names one device twice on a CPU."""
    from verl.utils import distributed  # noqa: PLC0415

    original = distributed.initialize_global_process_group_ray
    # verl 0.9.1 builds that name (utils/distributed.py) only where it is given none.
    distributed.initialize_global_process_group_ray = functools.partial(original, backend="gloo")


_ask_for_gloo_once()
