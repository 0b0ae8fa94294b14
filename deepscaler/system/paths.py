"""Where the kit keeps what it can make again: everything below one mountable folder."""

import os
from pathlib import Path

from deepscaler.system.errors import UserError


def cache_dir() -> Path:
    """`$DEEPSCALER_CACHE`, else `$XDG_CACHE_HOME/deepscaler`, else `~/.cache/deepscaler`."""
    if explicit := os.environ.get("DEEPSCALER_CACHE"):
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "deepscaler"


def data_dir() -> Path:
    """Where prepared data lies unless told otherwise."""
    return cache_dir() / "data"


def existing_folder(path: Path, advice: str = "give the --output-dir of what was started") -> Path:
    """Returns the path of a folder that is to be read. Raises UserError where it does not exist."""
    if path.is_dir():
        return path
    raise UserError(
        f"{path} is a file, not a folder: {advice}" if path.exists() else f"folder {path} does not exist: {advice}"
    )


def compiled_caches(folder: str) -> dict[str, str]:
    """Variables that keep compiled kernels in a folder; one of the machine's own.

    Ranks and engines that compile into one shared folder read each other's halves, or end with stale file handles.
    """
    return {
        "TRITON_CACHE_DIR": f"{folder}/triton",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "VLLM_CACHE_ROOT": f"{folder}/vllm",
    }


def ray_cpus(num_gpus: int) -> int:
    """Of a node, for Ray: tickets, not cores. verl's actors wait for ever for more of them than a small machine has."""
    return max(len(os.sched_getaffinity(0)), 16 + 4 * num_gpus)
