"""Fetches a run from its mirror: all that resumes it elsewhere, or as much as a merge or a report reads."""

import hashlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from deepscaler.mirror.bucket import Bucket, MirrorError, within
from deepscaler.mirror.layout import (
    IDENTITY,
    Stored,
    View,
    attempt_folder,
    claim_name,
    look,
    read_manifest,
    read_object,
    small_files,
)
from deepscaler.runs.checkpoints import PREFIX, SEAL, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import read_metrics, validation_means
from deepscaler.runs.mirror_state import MirrorState, read_state, write_state
from deepscaler.runs.space import free_bytes
from deepscaler.system.errors import UserError
from deepscaler.system.files import in_bytes, locked, remove_tree, sync_directory, sync_tree
from deepscaler.system.paths import cache_dir

Say = Callable[[str], None]
Need = Literal["metrics", "newest", "best"]

PATIENCE = 90.0
"""Seconds in which a mirror has to answer at a start."""

SILENCE = 35.0
"""Seconds without a sign of life in the mirror, after which an attempt elsewhere is dead; one comes every 10."""

LOOK = 5.0
NUM_STREAMS = 4
TRIES = 3
"""A download is tried so often: its connection may break, and the checkpoint may be pruned meanwhile."""

FETCHED = ".fetch-"
LAST = "run.json"
"""Makes a folder a run, so it is put in place when everything else is there."""


def restore(run: RunFolder, url: str, say: Say) -> None:
    """Fetches a run that its disk lacks, or has less of than its mirror; a run that is newer on disk stays as it is.

    Raises UserError where the mirror holds another run, an attempt elsewhere is at work, or an empty disk cannot be
    filled. With a run on disk, a mirror that cannot be reached only draws a warning.
    """
    try:
        bucket = within(PATIENCE, lambda: Bucket(url), url)
        view: View = within(PATIENCE, lambda: look(bucket), url)
        identity = within(PATIENCE, lambda: read_object(bucket, IDENTITY), url)
    except MirrorError as error:
        if not run.is_run:
            raise UserError(f"{error}; without it, nobody knows whether the run has begun elsewhere") from error
        say(f"WARNING: the mirror cannot be reached ({error}): going on from this disk.")
        return
    if identity is None:
        return
    state = read_state(run)
    if run.is_run and (state is None or state.run != identity.get("run")):
        raise UserError(f"{url} is the mirror of another run than {run.root}: give another --mirror or --output-dir")
    local = max((attempt.number for attempt in run.attempts()), default=0)
    if view.owner > local:
        _wait_until_dead(bucket, view, say)
        view = look(bucket)
    for number in view.claims:  # so that the next attempt's number is higher than any that the mirror has seen
        run.attempt(number).root.mkdir(parents=True, exist_ok=True)
    files = small_files(bucket, view)
    if not run.is_run or view.owner > local:
        say(f"Fetching the run from {url}.")
        _fetch_small(bucket, run, files, keep=run.is_run)
    newest = max(view.whole, default=0)
    if newest > max((checkpoint.step for checkpoint in sealed(run)), default=0):
        fetch_checkpoint(bucket, view.whole[newest], run, say)
    state = replace(state or MirrorState(url=url), url=url, run=str(identity["run"]))
    write_state(run, state)
    if LAST in files and not run.is_run:
        _fetch_small(bucket, run, {LAST: files[LAST]}, keep=False, last=True)


def describe_mirror(run: RunFolder, url: str) -> str:
    """Returns what `restore` would do, for a dry run. Raises UserError where the package of the bucket is missing."""
    try:
        bucket = within(PATIENCE, lambda: Bucket(url), url)
        view: View = within(PATIENCE, lambda: look(bucket), url)
    except MirrorError as error:
        return f"cannot be reached ({error})"
    if not view.whole:
        return f"{url} has no whole checkpoint yet"
    step, here = max(view.whole), max((checkpoint.step for checkpoint in sealed(run)), default=0)
    if step <= here:
        return f"{url} has step {step}, this disk step {here}"
    return f"{url} has step {step}: would fetch it, and resume from it instead of what is said here"


def fetched_run(url: str, need: Need, say: Say) -> RunFolder:
    """Returns a folder in the cache with what a command reads of a mirrored run. Raises UserError where it lacks it."""
    bucket = Bucket(url)
    run = cached(url)
    with locked(run.root, UserError(f"another process fetches {url} into {run.root}: wait for it")):
        for attempt in range(TRIES):
            try:
                view = look(bucket)
                files = small_files(bucket, view)
                if LAST not in files:
                    raise UserError(f"{url} holds no run: give the --mirror of a training")
                read = {path: told for path, told in files.items() if not path.startswith(("rollouts/", "validation/"))}
                _fetch_small(bucket, run, read, keep=False, last=True)
                if need != "metrics":
                    _fetch_needed(bucket, view, run, need, say)
                return run
            except MirrorError as error:  # pruned or replaced meanwhile
                if attempt == TRIES - 1:
                    raise UserError(str(error)) from error
    raise AssertionError("every try returns or raises")


def cached(url: str) -> RunFolder:
    """Returns the folder in the cache to which a mirror is fetched, whether it is there or not."""
    name = f"{url.rpartition('/')[2]}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    return RunFolder((cache_dir() / "mirror" / name).resolve())


def _fetch_needed(bucket: Bucket, view: View, run: RunFolder, need: Need, say: Say) -> None:
    if not view.whole:
        raise UserError(f"{bucket.url} has no whole checkpoint yet")
    step = max(view.whole)
    if need == "best":
        means = validation_means(read_metrics(run))
        judged = [one for one in view.whole if one in means]
        if not judged:
            raise UserError(f"no checkpoint in {bucket.url} was validated, so none is the best")
        step = max(judged, key=lambda one: (means[one], one))
    if all(checkpoint.step != step for checkpoint in sealed(run)):
        for old in sealed(run):
            remove_tree(old.path)
        fetch_checkpoint(bucket, view.whole[step], run, say)


def fetch_checkpoint(bucket: Bucket, stored: Stored, run: RunFolder, say: Say) -> None:
    """Fetches a checkpoint, every file by its size and hash, and puts it in place by one rename.

    What an earlier try has fetched is used again. Raises UserError where it does not fit or is not whole.
    """
    files = read_manifest(bucket, stored)
    wanted, free = sum(told["size"] for told in files.values()), free_bytes(run.root)
    made = run.checkpoints / f"{FETCHED}{PREFIX}{stored.step}"
    there = sum(file.stat().st_size for file in made.rglob("*") if file.is_file())
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
    sync_tree(made)
    made.rename(run.checkpoints / f"{PREFIX}{stored.step}")
    sync_directory(run.checkpoints)
    say(f"Fetched in {time.monotonic() - began:.1f} s.")


def _tried(bucket: Bucket, name: str, file: Path, told: dict[str, Any]) -> None:
    """Downloads a file, again where a connection broke."""
    for attempt in range(TRIES):
        try:
            return bucket.download(name, file, told)
        except MirrorError:
            if attempt == TRIES - 1:
                raise
            time.sleep(1.0 + attempt)
    return None


def _fetch_small(
    bucket: Bucket, run: RunFolder, files: dict[str, dict[str, Any]], *, keep: bool, last: bool = False
) -> None:
    """Fetches small files; with `keep` those only that are not there. `run.json` comes at the end, or with `last`."""
    chosen = [path for path in files if (last or path != LAST) and not (keep and (run.root / path).exists())]
    _download(bucket, run, {path: files[path] for path in chosen if path != LAST})
    _download(bucket, run, {path: files[path] for path in chosen if path == LAST})


def _download(bucket: Bucket, run: RunFolder, files: dict[str, dict[str, Any]]) -> None:
    with ThreadPoolExecutor(NUM_STREAMS) as pool:
        jobs: Iterable[Any] = [
            pool.submit(_tried, bucket, told["object"], run.root / path, told) for path, told in files.items()
        ]
        for job in jobs:
            job.result()


def _wait_until_dead(bucket: Bucket, view: View, say: Say) -> None:
    """Returns when the newest attempt has ended or gives no sign of life. Raises UserError where it is at work."""
    [(token, resumed), *_] = view.claims[view.owner].items()
    name = claim_name(view.owner, resumed, token)
    first = read_object(bucket, name) or {}
    if first.get("ended"):
        return
    say(f"{attempt_folder(view.owner)} on {first.get('host', '?')} has not ended: waiting {SILENCE:.0f} s for a sign.")
    end = time.monotonic() + SILENCE
    while time.monotonic() < end:
        now = read_object(bucket, name) or {}
        if now.get("ended"):
            return
        if now != first:
            raise UserError(
                f"attempt {view.owner} on {now.get('host', '?')} is at work and mirrors to {bucket.url}; wait, or stop"
                " it (SIGTERM saves)"
            )
        time.sleep(LOOK)
