"""Where the kit keeps what it can make again: everything below one mountable folder."""

import os
import re
import tempfile
from pathlib import Path

from deepscaler.system.errors import UserError

REFUSED_BY_VERL = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""AMD's variables, which verl takes no start beside CUDA_VISIBLE_DEVICES with; some clusters always set them."""

LONGEST_RAY_FOLDER = 107 - len("/session_2026-11-27_21-03-22_123456_4194304/sockets/plasma_store")
"""Most bytes of the path of Ray's folder: the kernel takes 107 for a Unix socket, and Ray's are below it."""


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


def short_temporary_folder() -> Path:
    """Returns the temporary folder, or /tmp where its path is too long for a Ray below it. Raises UserError."""
    room = LONGEST_RAY_FOLDER - len("/dsr-12345678")
    usual = Path(tempfile.gettempdir())
    for folder in (usual, Path("/tmp")):  # noqa: S108  mkdtemp makes a folder of its own there
        if len(os.fsencode(folder)) <= room and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise UserError(
        f"temporary folder {usual} has a path of {len(os.fsencode(usual))} bytes, and /tmp cannot be written: Ray's"
        f" sockets need one of at most {room} bytes; set TMPDIR to such a folder"
    )


def expanded(text: str, label: str) -> str:
    """Returns a path with the variables and the ~ in it as they are here. Raises UserError for a variable not set."""
    found = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111  an empty text stays empty
    if missing := unset_variable(found):
        raise UserError(
            f"invalid value {text!r} for {label}: the variable {missing} is not set here; set it, or write the folder"
        )
    return found


def unset_variable(text: str) -> str:
    """Returns a variable that is left in a path after it was expanded, as `$NAME`; empty where there is none."""
    found = re.search(r"\$(\w+|\{\w+\})", text)
    return found[0] if found else ""
