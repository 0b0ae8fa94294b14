"""Writes files that are either whole or absent: temporary file, fsync, rename."""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from deepscaler.system.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk or quota. The system names neither the path nor the sizes."""

LOCK = ".lock"
"""File in a folder that one process at a time may use."""

LOCK_PATIENCE = 3600.0
"""Seconds for which another process is waited for: it may be reading a large checkpoint from a slow disk."""

LOCK_POLL = 0.5


@contextmanager
def atomic_path(path: Path, size: int = 0) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success syncs it and renames it to `path`, otherwise removes it.

    `size` is the number of bytes to write, if known. Raises UserError if `path` is a folder, and an OSError that names
    the path and the sizes if the disk is full.
    """
    if path.is_dir() and not path.is_symlink():
        raise UserError(f"{path} is a folder; give the path of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # other machines may share the folder
    with naming_full_disk(path, size):  # outermost, so it measures free space after the temporary file is removed
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
            sync_directory(path.parent)  # a rename is durable only once its directory is
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def naming_full_disk(path: Path, wanted: int = 0) -> Iterator[None]:
    """Adds the file, the bytes needed (0 if unknown) and the bytes free to the error of a full disk, which names none.

    The error stays an OSError, so callers that can do without the file continue.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or isinstance(error, FullDiskError):
            raise
        raise FullDiskError(error.errno, full_disk(path, wanted), str(path)) from error


class FullDiskError(OSError):
    """Signals a full disk or quota; names the file, the bytes needed and the bytes free."""


def full_disk(path: Path, wanted: int = 0) -> str:
    """Returns the message that a disk is full, with the bytes needed, if known, and the bytes free."""
    return f"the disk or quota is full ({f'{in_bytes(wanted)} needed, ' if wanted else ''}{free(path)})"


def free(path: Path) -> str:
    """Returns the free space on a path's disk, whether or not the path exists: `1.2 GB free`."""
    return f"{in_bytes(shutil.disk_usage(existing_parent(path)).free)} free"


def existing_parent(path: Path) -> Path:
    """Returns a path, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(parent for parent in (path, *path.parents) if parent.exists())


def in_bytes(size: float) -> str:
    """Returns a size for people, in powers of 1000 as disk vendors use: 21.3 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def write_text(path: Path, text: str) -> None:
    """Replaces `path` with a text atomically."""
    # Before the file is made: a lone surrogate raises here, and the size is known if the disk is full.
    content = text.encode()
    with atomic_path(path, len(content)) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Replaces `path` with indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def locked(folder: Path, busy: UserError) -> Iterator[None]:
    """Locks a folder, after making it if necessary. Raises `busy` if another process holds it.

    Raises UserError if the folder is read-only, or if its file system offers no locks.
    """
    while True:
        with _open_lock(folder) as lock:
            try:  # the kernel releases the lock however the process ends, so no lock is ever stale
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise busy from None
            except OSError as error:  # Lustre that is mounted without the option flock, for one
                raise UserError(
                    f"the file system of {folder} offers no locks ({error.strerror}): choose a folder on another one"
                ) from error
            # Its holder before may have removed the folder: a lock on a file that is gone keeps nobody away.
            if _is_at(folder / LOCK, lock):
                yield
                return


def _open_lock(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # For writing: NFS makes flock a byte-range lock, which is exclusive on writable files only (flock(2)).
        return (folder / LOCK).open("w")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error


def _is_at(path: Path, opened: IO[str]) -> bool:
    """Returns whether an open file is the one that a path names."""
    try:
        return os.path.samestat(path.stat(), os.fstat(opened.fileno()))
    except FileNotFoundError:
        return False


def say_aside(sentence: str) -> None:
    """Prints a sentence to stderr, for functions whose callers print results."""
    print(sentence, file=sys.stderr, flush=True)


@contextmanager
def alone(
    folder: Path, doing: str, say: Callable[[str], None] = say_aside, patience: float | None = None
) -> Iterator[None]:
    """Waits until no other process does the same in a folder, and keeps others waiting meanwhile.

    Raises UserError if another process takes longer than `patience` seconds (default: LOCK_PATIENCE), or if the folder
    cannot be written.
    """
    # Not refused at once: a launcher ends a training or a chain for good after such an error, and the other process,
    # which somebody started by hand, perhaps makes the very thing.
    busy = UserError(f"another process is {doing}: wait for it, or end it, then rerun the same command")
    deadline, told = time.monotonic() + (LOCK_PATIENCE if patience is None else patience), False
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder, busy))
                break
            except UserError as error:
                if error is not busy or time.monotonic() > deadline:
                    raise
            if not told:
                say(f"Another process is {doing}: waiting for it ...")
                told = True
            time.sleep(LOCK_POLL)
        yield


def sha256(path: Path) -> str:
    """Returns the hex digest of a file's bytes."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def file_size(path: Path) -> int:
    """Returns the size of a file in bytes; 0 if it does not exist, as when another process has just removed it."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def sync_directory(directory: Path) -> None:
    """Makes a rename in `directory` survive a power cut."""
    _sync(directory)


def sync_tree(directory: Path) -> None:
    """Makes every file below `directory` survive a power cut."""
    # Folders, too: that a file has its name is a matter of the folder, and no fsync of the file makes it durable.
    for path in directory.rglob("*"):
        _sync(path)
    _sync(directory)


def put_folder(made: Path, target: Path) -> None:
    """Puts a folder in the place of another; at no moment is there half of one."""
    # rename(2) does not replace a folder that holds files, hence two of them; between them there is none.
    old = made.with_name("old")
    if target.exists():
        target.rename(old)
    made.rename(target)
    sync_directory(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    # Read-only, because a folder cannot be opened for writing; fsync takes such a descriptor on Linux.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def text_of(file: Path) -> str:
    """Returns the text of a file without the space around it; empty if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def read_json(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file. Raises UserError for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} does not hold a JSON object")
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """Returns the table of a TOML file. Raises UserError for a file that cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a byte order mark
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Returns the reason why a file cannot be read, for a message that names the file itself."""
    inner = getattr(error, "reason", None)  # a URLError wraps the actual error
    if isinstance(inner, OSError):
        return reason(inner)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # Python 3.11 refuses integers of more than 4300 digits (CVE-2020-10735), with advice that no user can follow.
    if "set_int_max_str_digits" in str(error):
        return "it holds an integer of thousands of digits"
    return str(error)


def remove_tree(folder: Path) -> None:
    """Removes a folder that dying processes used, repeatedly because they may still write files there."""
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
