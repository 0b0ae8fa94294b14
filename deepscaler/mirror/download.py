"""Downloads a run from its mirror; verifies each file's size and hash, and retries after a broken connection."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deepscaler.mirror.bucket import Bucket, DamagedError, MirrorError
from deepscaler.mirror.cache import FETCHED
from deepscaler.mirror.layout import Stored
from deepscaler.runs.checkpoints import PREFIX, Checkpoint, damage, read_seal
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.space import free_bytes
from deepscaler.system.errors import UserError
from deepscaler.system.files import in_bytes, remove_tree, sha256, sync_directory, sync_tree

NUM_STREAMS = 4
TRIES = 3
"""Most tries of a download: its connection may break, and the checkpoint may be pruned meanwhile."""

LAST = "run.json"
"""File that makes a folder a run, so it is put in place after everything else."""

Say = Callable[[str], None]


def fetch_checkpoint(
    bucket: Bucket, stored: Stored, files: dict[str, dict[str, Any]], run: RunFolder, say: Say
) -> None:
    """Fetches a checkpoint, every file by its size and hash, and puts it in place by one rename.

    What an earlier try has fetched is used again. Raises UserError if it does not fit, and DamagedError if it is not
    whole in the mirror.
    """
    wanted, free = sum(told["size"] for told in files.values()), free_bytes(run.root)
    made, target = fetched_folder(run, stored.step), run.checkpoints / f"{PREFIX}{stored.step}"
    found = {file.relative_to(made).as_posix(): file for file in made.rglob("*") if file.is_file()}
    for name in found.keys() - files.keys():  # an earlier try may have been at another checkpoint of this step
        found.pop(name).unlink()
    there = sum(file.stat().st_size for file in found.values())
    if wanted - there > free:
        raise UserError(
            f"{run.checkpoints} has {in_bytes(free)} free, the checkpoint of step {stored.step} in {bucket.url} has"
            f" {in_bytes(wanted)}: free some space"
        )
    say(f"Fetching the checkpoint of step {stored.step} ({in_bytes(wanted)}) from {bucket.url}.")
    began = time.monotonic()
    with ThreadPoolExecutor(NUM_STREAMS) as pool:
        jobs = [
            pool.submit(_tried, bucket, f"{stored.folder}/{name}", made / name, told) for name, told in files.items()
        ]
        errors = [error for job in jobs if (error := job.exception())]
    if errors:
        # A broken connection comes first: it says nothing about the checkpoint, which the next try may find whole.
        raise min(errors, key=lambda one: isinstance(one, DamagedError))
    # The hashes say that it is what was uploaded, and not that this was what verl had saved.
    if problems := "; ".join(_problems(made, stored.step)[:3]):
        # A disk that gives back something other than was written to it says nothing about the mirror.
        if not _is_as_fetched(made, files):
            raise MirrorError(f"{made} is not what was fetched to it ({problems}): choose a folder on another disk")
        raise DamagedError(f"{bucket.url}/{stored.folder} is not what was saved: {problems}")
    # The order counts: bytes, then the name that makes them a checkpoint, then the folder that holds the name.
    sync_tree(made)
    remove_tree(target)  # without a readable seal, or it would not have been fetched
    made.rename(target)
    sync_directory(run.checkpoints)
    say(f"Fetched in {time.monotonic() - began:.1f} s.")


def fetched_folder(run: RunFolder, step: int) -> Path:
    """Returns the folder of a checkpoint that is being fetched."""
    return run.checkpoints / f"{FETCHED}{PREFIX}{step}"


def _is_as_fetched(made: Path, files: dict[str, dict[str, Any]]) -> bool:
    try:
        return all(sha256(made / name) == told["sha256"] for name, told in files.items())
    except OSError:
        return False


def _problems(made: Path, step: int) -> list[str]:
    """Returns what is wrong with a checkpoint by its seal."""
    seal = read_seal(made)
    if not isinstance(seal, Checkpoint):
        return [seal or "it has no seal"]
    if seal.step != step:
        return [f"it is of step {seal.step}"]
    return damage(made, seal.sizes, seal.world_size)


def _tried(bucket: Bucket, name: str, file: Path, told: dict[str, Any]) -> None:
    """Downloads a file; retries after a broken connection."""
    for attempt in range(TRIES):
        try:
            return bucket.download(name, file, told)
        except MirrorError as error:
            if attempt == TRIES - 1:
                if isinstance(error.__cause__, FileNotFoundError):
                    raise DamagedError(str(error)) from error
                raise
            time.sleep(1.0 + attempt)
    return None


def fetch_small(
    bucket: Bucket, run: RunFolder, files: dict[str, dict[str, Any]], *, keep: bool, last: bool = False
) -> None:
    """Fetches small files; with `keep` those only that are not there. `run.json` comes at the end, or with `last`."""
    chosen = [path for path in files if (last or path != LAST) and not (keep and (run.root / path).exists())]
    download(bucket, run, {path: files[path] for path in chosen if path != LAST})
    download(bucket, run, {path: files[path] for path in chosen if path == LAST})


def download(bucket: Bucket, run: RunFolder, files: dict[str, dict[str, Any]]) -> None:
    """Fetches small files to their places in a run's folder."""
    with ThreadPoolExecutor(NUM_STREAMS) as pool:
        jobs: Iterable[Any] = [
            pool.submit(_tried, bucket, told["object"], run.root / path, told) for path, told in files.items()
        ]
        for job in jobs:
            job.result()
