"""Locates the files that the kit can make again, all below one mountable folder, and checks other paths."""

import os
import re
import tempfile
from pathlib import Path

from deepscaler.system.errors import UserError
from deepscaler.system.files import text_of

REFUSED_BY_VERL = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""AMD's variables. verl refuses to start if one is set beside CUDA_VISIBLE_DEVICES; some clusters always set them."""

LONGEST_RAY_FOLDER = 107 - len("/session_2026-11-27_21-03-22_123456_4194304/sockets/plasma_store")
"""Most bytes of the folder in which Ray makes its session's. The kernel limits a Unix socket's path to 107."""


def cache_dir() -> Path:
    """Returns `$DEEPSCALER_CACHE`, or `$XDG_CACHE_HOME/deepscaler`, or `~/.cache/deepscaler`, the first that is set."""
    if explicit := os.environ.get("DEEPSCALER_CACHE"):
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "deepscaler"


def data_dir() -> Path:
    """Returns the default folder of prepared data."""
    return cache_dir() / "data"


def hub_home() -> Path:
    """Returns the folder of the hub's token and cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    return Path(os.path.expandvars(os.environ.get("HF_HOME", cache / "huggingface"))).expanduser()


def hub_cache() -> Path:
    """Returns the folder of what was fetched from the hub."""
    older = os.environ.get("HUGGINGFACE_HUB_CACHE", hub_home() / "hub")
    return Path(os.path.expandvars(os.environ.get("HF_HUB_CACHE", older))).expanduser()


def snapshots_of(name: str, cache: Path, kind: str = "models") -> Path:
    """Returns the folder of the snapshots of a hub's model, or of its `datasets`, in a cache; it may not exist."""
    return cache / f"{kind}--{name.replace('/', '--')}/snapshots"


def snapshot_of(name: str, revision: str, kind: str = "models") -> Path | None:
    """Returns the folder that the hub's cache has of a model or set, whole or not; None for an absent revision."""
    # As huggingface_hub finds it, which only some extras install: a branch's file holds its commit.
    snapshots = snapshots_of(name, hub_cache(), kind)
    folder = snapshots / (text_of(snapshots.parent / "refs" / revision) or revision)
    return folder if folder.is_dir() else None


def existing_folder(path: Path, advice: str = "give the --output-dir of an earlier command") -> Path:
    """Returns the path of a folder to read. Raises UserError if it does not exist."""
    if path.is_dir():
        return path
    raise UserError(
        f"{path} is a file, not a folder: {advice}" if path.exists() else f"folder {path} does not exist: {advice}"
    )


def compiled_caches(folder: str) -> dict[str, str]:
    """Returns the variables that keep compiled kernels in a folder, which must be local to the machine.

    Machines that compile into one shared folder read each other's incomplete files, or end with stale file handles.
    Processes use a folder below it, for their packages and their GPU (see `compiled.use`).
    """
    return {
        "TRITON_CACHE_DIR": f"{folder}/triton",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "VLLM_CACHE_ROOT": f"{folder}/vllm",
    }


def chosen_caches() -> dict[str, str]:
    """Returns the variables of `compiled_caches` that a launcher or the user has set, with their values."""
    found = {name: os.environ[name] for name in compiled_caches("") if os.environ.get(name)}
    inductor = Path(found.get("TORCHINDUCTOR_CACHE_DIR", ""))
    if inductor.parent == Path(tempfile.gettempdir()) and inductor.name.startswith("torchinductor_"):
        del found["TORCHINDUCTOR_CACHE_DIR"]  # torch's own default, which its import puts into the environment
    return found


def ray_cpus(num_gpus: int) -> int:
    """Returns a node's CPUs for Ray, which are tickets rather than cores.

    verl's actors request more of them than a small machine has cores, and would wait for them forever.
    """
    # Not os.cpu_count(), which counts the whole machine where SLURM or a container allows some of its cores.
    return max(len(os.sched_getaffinity(0)), 16 + 4 * num_gpus)


def short_temporary_folder() -> Path:
    """Returns a folder for a RAY_TMPDIR: the temporary one, or /tmp if its path is too long. Raises UserError."""
    # Ray makes a folder `ray` in a RAY_TMPDIR, but none in the temp_dir that slurm.node.ray gives it.
    room = LONGEST_RAY_FOLDER - len("/dsr-12345678/ray")
    usual = Path(tempfile.gettempdir())
    for folder in (usual, Path("/tmp")):  # noqa: S108  mkdtemp makes a folder of its own there
        # Bytes, not characters: the kernel's bound of a socket's path is in bytes.
        if len(os.fsencode(folder)) <= room and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise UserError(
        f"temporary folder {usual} has a path of {len(os.fsencode(usual))} bytes, and /tmp is not writable: Ray's"
        f" sockets need a path of at most {room} bytes; set TMPDIR to such a folder"
    )


def expanded(text: str, label: str) -> str:
    """Returns a path with its variables and ~ expanded.

    Raises UserError for a variable that is not set, a user that is not known, and other shell syntax.
    """
    if missing := [name for name in variables_in(text, label) if name not in os.environ]:
        raise UserError(
            f"invalid value {text!r} for {label}: the variable ${missing[0]} is not set; set it, or give the full path"
        )
    found = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111  an empty text stays empty
    if found.startswith("~"):
        user = found.partition("/")[0].removeprefix("~")
        raise UserError(f"invalid value {text!r} for {label}: there is no user {user} here; give the full path")
    return found


def expanded_absolute(text: str, label: str) -> str:
    """Returns an expanded path, or an empty text. Raises UserError as `expanded` does, and for a relative path."""
    found = expanded(text, label)
    if text and not found.startswith("/"):
        shown = repr(text) if found == text else f"{text!r}, which is {found!r},"
        raise UserError(f"invalid value {shown} for {label}: expected an absolute path; ~ and $NAME may begin it")
    return found


def variables_in(text: str, label: str) -> list[str]:
    """Returns the names of the variables in a path. Raises UserError for what a shell alone would expand."""
    # Only such names are expanded: a folder `${USER:-x}` or `$(whoami)` is made as it is written.
    known = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)
    if re.search(r"[$`]", known.sub("", text)):
        raise UserError(
            f"invalid value {text!r} for {label}: of shell syntax only $NAME, ${{NAME}} and ~ are expanded;"
            " give the full path"
        )
    return [plain or braced for plain, braced in known.findall(text)]
