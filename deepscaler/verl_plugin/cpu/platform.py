"""The CPU as a platform of verl's. Imported by every verl process, right after verl itself.

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
        """What stands in for `torch.cuda`."""
        from deepscaler.verl_plugin.cpu import device  # noqa: PLC0415

        return device

    def is_available(self) -> bool:
        """Always."""
        return True

    def current_device(self) -> Any:
        """Torch takes the name where it takes an index of a GPU."""
        return "cpu"

    def device_count(self) -> int:
        """Each rank sees one."""
        return 1

    def set_device(self, device_index: int) -> None:
        """There is nothing to select."""

    def synchronize(self, device_index: int | None = None) -> None:
        """Kernels have finished when they return."""

    def manual_seed(self, seed: int) -> None:
        """Seed torch."""
        self.device_module.manual_seed(seed)

    manual_seed_all = manual_seed

    def set_allocator_settings(self, settings: str) -> None:
        """None apply."""

    def empty_cache(self) -> None:
        """There is none."""

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        """None: this is no CUDA device."""
        return None, None

    def communication_backend_name(self) -> str:
        """Collectives between ranks."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """The variable that Ray sets for what it takes for a GPU."""
        return "CUDA_VISIBLE_DEVICES"

    def ray_resource_name(self) -> str:
        """Pretended (see the package)."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """Ray may set what it likes."""
        return []

    def is_ipc_supported(self) -> bool:
        """No device memory to share."""
        return False

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """No profiler."""
        yield

    def profiler_start(self) -> None:
        """No profiler."""

    def profiler_stop(self) -> None:
        """No profiler."""

    def cudart(self) -> None:
        """No CUDA."""


def _ask_for_gloo_once() -> None:
    """Verl names the process group's backend `cpu:gloo,<device>:<backend>`; for the CPU that names one device twice."""
    from verl.utils import distributed  # noqa: PLC0415

    original = distributed.initialize_global_process_group_ray
    distributed.initialize_global_process_group_ray = functools.partial(original, backend="gloo")


_ask_for_gloo_once()
