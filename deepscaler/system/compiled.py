"""Keeps compiled kernels (Triton, Inductor, vLLM) from start to start, by packages and GPU.

MACHINE/KEY/{triton,inductor,vllm}/   where the processes of one machine compile; MACHINE is a local folder
CACHE/compiled/KEY.tar                the same for every machine with these packages and this GPU, in the shared cache

A machine without a folder for its key unpacks the archive first. If many machines write and read single files in one
shared folder, these are incomplete or gone when they are needed. An archive that is renamed into place is always whole.
"""

import fcntl
import hashlib
import os
import platform
import random
import shutil
import site
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from deepscaler.system.files import atomic_path
from deepscaler.system.paths import cache_dir, chosen_caches, compiled_caches

QUIET = 60.0
"""Seconds without a new file after which the compiled files are archived."""

PATIENCE = 120.0
"""Seconds that one process of a machine has to unpack the archive, while the others wait."""

KEPT = 30 * 86400.0
"""Seconds after which folders and archives that no start uses are removed."""

ASKING = 30
"""Seconds that nvidia-smi has to answer."""

CHOSEN = "DEEPSCALER_COMPILED"
"""Variable that passes this process's folder on to the processes that it starts."""


def use() -> Path | None:
    """Makes this process, and those that it starts, compile in the folder for its packages and its GPU.

    Returns the folder, which is below the one in the variables that a launcher has set, or None if the user has chosen
    folders. Call this before anything is compiled. A failure costs a compilation and nothing else.
    """
    if CHOSEN in os.environ:
        return Path(os.environ[CHOSEN])
    with suppress(OSError):
        if machine := _machine_folder():
            name = key()
            folder, archive = machine / name, _archive(name)
            _unpack_once(folder, archive)
            os.environ.update(compiled_caches(str(folder)), **{CHOSEN: str(folder)})
            # Marks of use for `remove_stale`: the time of the last reading is off or a day late (noatime, relatime).
            for path in (folder, archive):
                with suppress(FileNotFoundError):
                    os.utime(path)
            remove_stale(machine, archive.parent)
            if machine != archive.parent:
                threading.Thread(target=_keep_filled, args=(folder, archive), name="compiled", daemon=True).start()
            return folder
    return None


def publish_now() -> Path:
    """Writes what this machine has compiled to the archive at once, and returns it. Call `use` first."""
    archive = archive_here()
    publish(Path(os.environ[CHOSEN]), archive)
    return archive


def archive_here() -> Path:
    """Returns the path of the archive for this machine's packages and GPU."""
    return _archive(key())


def key() -> str:
    """Returns the key of everything that compiled code depends on: `nvidia-a100-sxm4-80gb-8.0-3f9a0c12de45`."""
    device = _device()
    described = f"{_lock()}\n{platform.python_version()}\n{device}"
    name = "-".join(device.splitlines()[0].lower().replace(",", "").split())
    # A processor's name holds what a file's name or a tool's argument must not: "Intel(R) Xeon(R) CPU @ 2.20GHz".
    safe = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in name)
    return f"{safe[:40]}-{hashlib.sha256(described.encode()).hexdigest()[:12]}"


def publish(folder: Path, archive: Path) -> None:
    """Writes all compiled files of a folder to the archive, atomically."""
    with atomic_path(archive) as temporary, tarfile.open(temporary, "w") as tar:
        for path in _files(folder):
            with suppress(FileNotFoundError):  # a temporary one, renamed meanwhile
                tar.add(path, str(path.relative_to(folder)), recursive=False)


def remove_stale(*roots: Path) -> None:
    """Removes the folders and archives of keys that no start has used for a long time."""
    for path in {path for root in roots if root.is_dir() for path in root.iterdir()}:
        with suppress(OSError):
            is_ours = path.suffix == ".tar" or (path / ".key").is_file()
            if is_ours and time.time() - path.stat().st_mtime > KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _machine_folder() -> Path | None:
    """Returns the folder above those in the variables; None unless they have the form that a launcher sets."""
    given = chosen_caches()
    if not given:
        return cache_dir().absolute() / "compiled"
    machine = Path(next(iter(given.values()))).parent
    return machine if given.items() <= compiled_caches(str(machine)).items() else None


def _archive(name: str) -> Path:
    return cache_dir().absolute() / "compiled" / f"{name}.tar"


def _unpack_once(folder: Path, archive: Path) -> None:
    """Creates a folder with the archive's content. One process of a machine does so while the others wait.

    A hidden folder holds the work in progress, and a rename turns it into the result.
    """
    if folder.is_dir():
        return
    begun, deadline = folder.with_name(f".{folder.name}"), time.monotonic() + PATIENCE
    folder.parent.mkdir(parents=True, exist_ok=True)
    # By a lock, which the kernel releases when its process is killed: by the age of what has begun, one that is slow
    # would pass for killed, and two could remove each other's.
    with begun.with_name(f"{begun.name}.lock").open("w") as lock:
        while not _is_locked(lock):
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)
        if folder.is_dir():
            return
        shutil.rmtree(begun, ignore_errors=True)  # of a process that was killed
        begun.mkdir()
        with suppress(OSError, tarfile.TarError), tarfile.open(archive) as tar:
            # The shared cache belongs to many: this filter (PEP 706) refuses paths and links that lead outside.
            tar.extractall(begun, filter="data")
        (begun / ".key").touch()
        begun.rename(folder)


def _is_locked(file: IO[str]) -> bool:
    """Returns whether this process has locked a file, now or before."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _keep_filled(folder: Path, archive: Path) -> None:
    """Publishes this machine's compiled files whenever no new one has appeared for a while; one process does so."""
    with suppress(OSError), (folder / ".publisher").open("w") as lock:
        # Where another process of the machine publishes, this raises BlockingIOError, an OSError, and the thread ends.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        while True:
            time.sleep(QUIET * random.uniform(1, 2))  # random, so not all machines write the same archive
            # A compiler renames and removes files while they are listed, and a disk may be full: the next look comes.
            with suppress(OSError):
                _publish_if_quiet(folder, archive)


def _publish_if_quiet(folder: Path, archive: Path) -> None:
    newest = max((path.stat().st_mtime for path in _files(folder)), default=0.0)
    with suppress(FileNotFoundError):
        if archive.stat().st_mtime >= newest:
            return
    if newest and time.time() - newest > QUIET:
        publish(folder, archive)


def _files(folder: Path) -> Iterator[Path]:
    """Yields the compiled files: every file except the kit's own marks."""
    return (path for path in folder.rglob("*") if path.is_file() and path.parent != folder)


def _lock() -> str:
    """Returns the image's lock file, or else the names and versions of the installed packages."""
    with suppress(KeyError, OSError):
        return Path(os.environ["DEEPSCALER_LOCK"]).read_text(encoding="utf-8")
    # Without the kit's own version, which changes with every release, and on which nothing compiled depends.
    # Not sys.path: setuptools adds its own packages to it where it is imported, and each process needs the same key.
    found = {path.name for entry in site.getsitepackages() for path in Path(entry).glob("*.dist-info")}
    return "\n".join(sorted(name for name in found if not name.startswith("deepscaler-")))


def _device() -> str:
    """Returns the GPU's name and compute capability, or else the processor's features that a compiler uses."""
    with suppress(OSError, subprocess.SubprocessError):
        command = ("nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader")
        told = subprocess.run(command, capture_output=True, text=True, timeout=ASKING, check=True).stdout
        if told.strip():
            return told.strip().splitlines()[0]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        told = "\n".join(
            next((line for line in lines if line.startswith(name)), "") for name in ("model name", "flags")
        )
        return told.partition(":")[2].strip() or platform.machine()
    return platform.machine()
