"""Downloads a run from its mirror; verifies each file's size and hash, and retries after a broken connection."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deepscaler.mirror.bucket import Bucket, MirrorError
from deepscaler.mirror.cache import FETCHED
from deepscaler.mirror.layout import Stored
from deepscaler.runs.checkpoints import PREFIX, SEAL
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.space import free_bytes
from deepscaler.system.errors import UserError
from deepscaler.system.files import in_bytes, remove_tree, sync_directory, sync_tree

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

    What an earlier try has fetched is used again. Raises UserError if it does not fit or is not whole.
    """
    wanted, free = sum(told["size"] for told in files.values()), free_bytes(run.root)
    made, target = (run.checkpoints / f"{start}{PREFIX}{stored.step}" for start in (FETCHED, ""))
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
        for job in jobs:
            job.result()
    if not (made / SEAL).is_file():
        raise MirrorError(f"{bucket.url}/{stored.folder} has no {SEAL}")
    # The order counts: bytes, then the name that makes them a checkpoint, then the folder that holds the name.
    sync_tree(made)
    remove_tree(target)  # without a readable seal, or it would not have been fetched
    made.rename(target)
    sync_directory(run.checkpoints)
    say(f"Fetched in {time.monotonic() - began:.1f} s.")


def _tried(bucket: Bucket, name: str, file: Path, told: dict[str, Any]) -> None:
    """Downloads a file; retries after a broken connection."""
    for attempt in range(TRIES):
        try:
            return bucket.download(name, file, told)
        except MirrorError:
            if attempt == TRIES - 1:
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
