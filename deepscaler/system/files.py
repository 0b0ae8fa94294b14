"""Files that are either whole or absent: temp file, fsync, rename."""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deepscaler.system.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk or a quota that is full; the system says neither of which path nor of how much."""


@contextmanager
def atomic_path(path: Path, size: int = 0) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is synced and renamed over it, else removed.

    Raises UserError where `path` is a folder, and OSError that tells path and sizes where the disk is full: the bytes
    that are to be written are `size`, if known.
    """
    if path.is_dir() and not path.is_symlink():
        raise UserError(f"{path} is a folder; give the path of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # other machines may share the folder
    with naming_full_disk(path, size):  # measured when the temporary file no longer fills what is free
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
            sync_directory(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def naming_full_disk(path: Path, wanted: int = 0) -> Iterator[None]:
    """Adds to the error of a full disk, which names nothing, the file, the bytes wanted (0: not known) and those free.

    Raises OSError as before: who can do without the file goes on.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or isinstance(error, FullDiskError):
            raise
        raise FullDiskError(error.errno, full_disk(path, wanted), str(path)) from error


class FullDiskError(OSError):
    """A disk or a quota that is full; names the file, the bytes wanted and those free."""


def full_disk(path: Path, wanted: int = 0) -> str:
    """Returns that a disk is full, with the bytes wanted where they are known, and those free."""
    return f"the disk or quota is full ({f'{in_bytes(wanted)} wanted, ' if wanted else ''}{free(path)})"


def free(path: Path) -> str:
    """Returns how much room is left where a path is or would be: `1.2 GB free`."""
    return f"{in_bytes(shutil.disk_usage(existing_parent(path)).free)} free"


def existing_parent(path: Path) -> Path:
    """Returns a path, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(parent for parent in (path, *path.parents) if parent.exists())


def in_bytes(size: float) -> str:
    """Returns a size for people: 21.3 GB, in powers of 1000 as disks are sold."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` atomically."""
    content = text.encode()
    with atomic_path(path, len(content)) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def locked(folder: Path, busy: UserError) -> Iterator[None]:
    """Hold a folder, made if it is not there. Raises `busy` if another process does, UserError if it is read-only."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --output-dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        yield


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def file_size(path: Path) -> int:
    """Returns the bytes of a file; 0 where another process has just removed it."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def sync_directory(directory: Path) -> None:
    """Make a rename in `directory` survive a power cut."""
    _sync(directory)


def sync_tree(directory: Path) -> None:
    """Make every file below `directory` survive a power cut."""
    for path in directory.rglob("*"):
        _sync(path)
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object")
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """Returns the table of a TOML file. Raises UserError for a file that cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Returns why a file cannot be read, for a message that names the file itself."""
    inner = getattr(error, "reason", None)  # a URLError's
    if isinstance(inner, OSError):
        return reason(inner)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "set_int_max_str_digits" in str(error):
        return "it holds an integer of thousands of digits"
    return str(error)


def remove_tree(folder: Path) -> None:
    """Removes a folder that dying processes used; one of them may put another file there meanwhile."""
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
