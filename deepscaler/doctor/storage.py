"""Checks the file system of a run: writing, atomic renames, mkdir as a lock, throughput, free space."""

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from deepscaler.doctor.finding import Finding
from deepscaler.doctor.subject import Subject, examined_folder
from deepscaler.recipes.disk import checkpoint_bytes
from deepscaler.recipes.model_shape import shape_of
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.space import room_of
from deepscaler.system.errors import UserError
from deepscaler.system.files import in_bytes, remove_tree

SAMPLE = 64 << 20
"""Bytes that are written and read back to measure the throughput."""

LONGEST_SAVE = 600.0
"""Seconds for a checkpoint, during which no GPU computes."""

LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "zfs", "overlay")
"""File systems that one machine alone sees."""

GIVE = "needs a folder: --output-dir"


def check_folder(subject: Subject) -> Finding:
    """Writes where the run will, renames one file over another, and takes a lock by mkdir twice."""
    name, folder = "run folder", examined_folder(subject)
    if folder is None:
        return Finding(name, "skip", GIVE)
    if not folder.is_dir():
        return Finding(name, "fail", f"{folder} is a file", "give another --output-dir")
    probe = folder / f".deepscaler-doctor-{secrets.token_hex(4)}"
    try:
        probe.mkdir()
        wrong = _try_out(probe)
    except OSError as error:
        return Finding(name, "fail", f"{folder} cannot be written ({error.strerror})", "give another --output-dir")
    finally:
        with suppress(OSError):
            remove_tree(probe)
    if wrong:
        return Finding(
            name, "fail", f"{folder}: {wrong}", "a file system with POSIX renames: no bucket that is mounted"
        )
    kind = file_system(folder)
    shown = f"{folder} ({kind}): renames are atomic, mkdir locks"
    if subject.recipe and subject.recipe.num_nodes > 1 and kind in LOCAL:
        return Finding(name, "warn", f"{shown}, but {kind} is this machine's own", "a folder that all nodes share")
    return Finding(name, "pass", shown)


def check_space(subject: Subject) -> Finding:
    """Compares the free space with the checkpoints that the recipe keeps; `train` itself refuses what does not fit."""
    name = "disk space"
    if subject.run_dir is None or subject.recipe is None:
        return Finding(name, "skip", "needs --recipe and --output-dir")
    room = room_of(RunFolder(subject.run_dir.absolute()), subject.recipe)
    if room is None:
        return Finding(name, "skip", "the model is not here, so the size of a checkpoint is not known")
    fix = "make room, another --output-dir, or fewer checkpoints (--keep)"
    shown = f"{in_bytes(room.free)} free, a checkpoint takes {in_bytes(room.checkpoint)}"
    if room.num_fitting < 1:  # `train` removes what attempts left half-written first
        return Finding(name, "warn" if subject.starts_training else "fail", shown, fix)
    if room.wanted > room.free:
        return Finding(name, "warn", f"{shown}, the run writes up to {in_bytes(room.wanted)}", fix)
    return Finding(name, "pass", f"{shown}, the run writes up to {in_bytes(room.wanted)}")


def check_throughput(subject: Subject) -> Finding:
    """Writes and reads a sample, and says what a checkpoint takes at this speed."""
    name, folder = "throughput", examined_folder(subject)
    if folder is None:
        return Finding(name, "skip", GIVE)
    try:
        written, read = measure(folder)
    except OSError as error:
        return Finding(name, "fail", f"{folder}: {error.strerror}", "make room, or give another --output-dir")
    shown = f"{in_bytes(written)}/s written, {in_bytes(read)}/s read"
    size = _checkpoint(subject)
    if not size:
        return Finding(name, "pass", shown)
    shown = f"{shown}: a checkpoint of {in_bytes(size)} takes {size / written:.0f} s"
    fix = "a faster file system, or save less often (save_every)"
    return Finding(name, "warn" if size / written > LONGEST_SAVE else "pass", shown, fix)


def measure(folder: Path) -> tuple[float, float]:
    """Returns the bytes a second that reach the disk, and that are read back. Raises OSError."""
    probe = folder / f".deepscaler-doctor-{secrets.token_hex(4)}"
    block = os.urandom(1 << 20)  # some file systems pack zeros
    try:
        started = time.perf_counter()
        with probe.open("wb") as file:
            for _ in range(SAMPLE // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        written = time.perf_counter() - started
        with probe.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # else memory would be measured
            started = time.perf_counter()
            while file.read(1 << 20):
                pass
        return SAMPLE / written, SAMPLE / (time.perf_counter() - started)
    finally:
        probe.unlink(missing_ok=True)


def file_system(folder: Path) -> str:
    """Returns the kind of file system that holds a folder: nfs4, lustre, ext4, ..."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        # proc(5): a blank within a path is written \040.
        _, point, found, *_ = line.split(" ")
        # ">=" because a later line is mounted over an earlier one of the same place.
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, found
    return kind


def _try_out(probe: Path) -> str:
    """Returns what the file system does not do; empty for one that does all."""
    old, new, lock = probe / "old", probe / "new", probe / "lock"
    old.write_bytes(b"old")
    with old.open("rb") as reader:
        new.write_bytes(b"new")
        new.replace(old)
        if old.read_bytes() != b"new" or new.exists():
            return "a rename over a file does not replace it"
        # POSIX: whoever has the old file open keeps reading that one. A bucket behind FUSE may swap it.
        if reader.read() != b"old":
            return "a rename changes the file that somebody reads"
    lock.mkdir()
    try:
        lock.mkdir()
    except FileExistsError:
        return ""
    return "mkdir makes a folder that is there already, so that two attempts could own a run"


def _checkpoint(subject: Subject) -> int:
    if subject.recipe is None:
        return 0
    try:
        return checkpoint_bytes(subject.recipe, shape_of(subject.recipe.model))
    except UserError:
        return 0
