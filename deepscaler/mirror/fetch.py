"""Fetches a run from its mirror: all that resumes it elsewhere, or as much as a merge or a report reads."""

import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from deepscaler.mirror.bucket import Bucket, DamagedError, MirrorError, within
from deepscaler.mirror.cache import cached, keep_checkpoint, keep_files, keep_run
from deepscaler.mirror.download import LAST, TRIES, Say, download, fetch_checkpoint, fetch_small, fetched_folder
from deepscaler.mirror.hub import place
from deepscaler.mirror.layout import (
    IDENTITY,
    View,
    attempt_folder,
    attempt_of,
    claim_name,
    look,
    read_manifest,
    read_object,
    small_files,
    stages_of,
)
from deepscaler.runs.checkpoints import Checkpoint, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import read_metrics, validation_means
from deepscaler.runs.mirror_state import MirrorState, stored_state, write_state
from deepscaler.runs.outputs import CHAIN
from deepscaler.system.errors import UserError
from deepscaler.system.files import alone, remove_tree, write_json

Need = Literal["metrics", "newest", "best"]

PATIENCE = 90.0
"""Seconds in which a mirror has to say at a start what it holds."""

LOOK = 5.0


def restore(run: RunFolder, url: str, say: Say) -> None:
    """Fetches a run that its disk lacks, or has less of than its mirror; a run that is newer on disk stays as it is.

    What this disk has beyond the step at which an attempt elsewhere resumed is set aside: the run went on without it.
    Raises UserError if the mirror holds another run, an attempt elsewhere is at work, or an empty disk cannot be
    filled. With a run on disk, a mirror that cannot be reached only draws a warning.
    """

    def ask() -> tuple[Bucket, View, dict[str, Any] | None]:
        bucket = place(url)
        bucket.prepare()
        return bucket, look(bucket), read_object(bucket, IDENTITY)

    try:
        bucket, view, identity = within(PATIENCE, ask, url)
    except MirrorError as error:
        if not run.is_run:
            raise UserError(f"{error}; without it, nobody knows whether the run has begun elsewhere") from error
        say(f"WARNING: the mirror cannot be reached ({error}): going on from this disk.")
        return
    if identity is None:
        return
    if not isinstance(identity.get("run"), str):
        raise UserError(f"{url}/{IDENTITY} does not say which run it is: give another --mirror")
    # No attempt owns the folder yet, and two that fetch into it would write the same files and remove each other's.
    with alone(run.root, f"fetching {url} into {run.root}", say):
        _restore(run, bucket, view, identity["run"], say)


def _restore(run: RunFolder, bucket: Bucket, view: View, identity: str, say: Say) -> None:
    url, state = bucket.url, stored_state(run)
    # Without run.json the folder may be what a start that was killed has fetched, of whatever the mirror was then.
    if state.run != identity if state else run.is_run:
        raise UserError(f"{url} is the mirror of another run than {run.root}: give another --mirror or --output-dir")
    local = max((attempt.number for attempt in run.attempts()), default=0)
    if view.owner > local:
        _wait_until_dead(bucket, view, say)
        view = look(bucket)
        _set_overtaken_aside(run, view, local, say)
    known = replace(state or MirrorState(url=url), run=identity).at_place(url)
    is_behind = not run.is_run or view.owner > local
    if is_behind:
        known = known.fetched(sorted(view.whole), view.owner)
    # Not without need: an attempt that lives here has a process that writes the same file.
    if known != state:
        write_state(run, known)
    # Not without need: where this disk has all, what the mirror answers from here on keeps no run from its start.
    files = small_files(bucket, view) if is_behind else {}
    if is_behind:
        say(f"Fetching the run from {url}.")
        # First, and before any folder of a later attempt is here: a start that is killed in between does it again.
        download(bucket, run, _overtaken_files(run, files, local))
        fetch_small(bucket, run, files, keep=run.is_run)
    for number in view.claims:  # so that the next attempt's number is higher than any that the mirror has seen
        run.attempt(number).root.mkdir(parents=True, exist_ok=True)
    _fetch_newest(bucket, view, run, say)
    if LAST in files and not run.is_run:
        fetch_small(bucket, run, {LAST: files[LAST]}, keep=False, last=True)


def _fetch_newest(bucket: Bucket, view: View, run: RunFolder, say: Say) -> None:
    """Fetches the newest checkpoint that is whole in the mirror, if it is newer than those on disk.

    Raises DamagedError if there is none on disk and none in the mirror is whole: training never starts over silently.
    """
    here, damaged = max((checkpoint.step for checkpoint in sealed(run)), default=0), None
    for step in sorted((step for step in view.whole if step > here), reverse=True):
        stored = view.whole[step]
        try:
            return fetch_checkpoint(bucket, stored, read_manifest(bucket, stored), run, say)
        except DamagedError as error:
            damaged = damaged or error
            # It stays damaged: a run that fetched it at every start would never resume.
            say(f"WARNING: the checkpoint of step {step} in the mirror is damaged: {error}")
            remove_tree(fetched_folder(run, step))
    if damaged and not here:
        raise damaged
    if damaged:
        say(f"Resuming from the checkpoint of step {here} on this disk.")
    return None


def describe_mirror(run: RunFolder, url: str) -> str:
    """Returns what `restore` would do, for a dry run. Raises UserError if the package of the bucket is missing."""
    try:
        view: View = within(PATIENCE, lambda: look(place(url)), url)
    except MirrorError as error:
        return f"cannot be reached ({error})"
    if not view.whole:
        return f"{url} has no whole checkpoint yet"
    overtaken = _overtaken(run, view, max((attempt.number for attempt in run.attempts()), default=0))
    here = max((one.step for one in sealed(run) if one not in overtaken), default=0)
    step = max(view.whole)
    if step <= here:
        return f"{url} has step {step}, this disk step {here}"
    return f"{url} has step {step}: would fetch it, and resume from it instead of what is said here"


def _overtaken(run: RunFolder, view: View, local: int) -> list[Checkpoint]:
    """Returns the checkpoints on disk that were saved beyond the step at which an attempt after `local` resumed."""
    return [checkpoint for checkpoint in sealed(run) if not view.counts(checkpoint.step, local)]


def _set_overtaken_aside(run: RunFolder, view: View, local: int, say: Say) -> None:
    for checkpoint in _overtaken(run, view, local):
        aside = checkpoint.path.with_name(f"overtaken-{checkpoint.path.name}-{secrets.token_hex(4)}")
        checkpoint.path.rename(aside)
        say(
            f"WARNING: the run resumed at step {view.resumed_after(local)} elsewhere, without the checkpoint of step"
            f" {checkpoint.step} on this disk: set aside as {aside}"
        )


def _overtaken_files(run: RunFolder, files: dict[str, dict[str, Any]], local: int) -> dict[str, dict[str, Any]]:
    """Returns the small files on disk of which the mirror has a later attempt's."""
    return {
        path: told
        for path, told in files.items()
        if path != LAST and attempt_of(told["object"]) > local and (run.root / path).exists()
    }


def fetched_run(url: str, need: Need, say: Say) -> RunFolder:
    """Returns a folder in the cache with what a command reads of a mirrored run. Raises UserError if it lacks it."""
    bucket = place(url)
    run = cached(url)
    with alone(run.root, f"fetching {url} into {run.root}", say):
        for attempt in range(TRIES):
            try:
                identity = _identity(bucket)
                view = look(bucket)
                files = small_files(bucket, view)
                if LAST not in files:
                    raise UserError(_no_run(url, view))
                keep_run(run, identity)
                # Texts are most of a mirror's small files, and neither a merge nor a report reads them.
                read = {path: told for path, told in files.items() if not path.startswith(("rollouts/", "validation/"))}
                keep_files(run, read)
                fetch_small(bucket, run, read, keep=False, last=True)
                if need != "metrics":
                    _fetch_needed(bucket, view, run, need, say)
                if _identity(bucket) != identity:
                    raise MirrorError(f"{url} became the mirror of another run while it was fetched")
                return run
            except MirrorError as error:  # pruned or replaced meanwhile
                if attempt == TRIES - 1:
                    raise UserError(str(error)) from error
    raise AssertionError("every try returns or raises")


def fetched_chain(url: str, need: Need, say: Say) -> Path | None:
    """Returns a folder in the cache with the stages of a mirrored chain; None if the URL is not a chain's.

    All stages have what a report reads, and the last one with a whole checkpoint has what else is needed.
    """
    view, root = look(place(url)), cached(url).root
    stages = [] if view.indexed else stages_of(view)
    if not stages:
        return None
    last = ""
    if need != "metrics":
        last = next((stage for stage in reversed(stages) if look(place(f"{url}/{stage}")).whole), "")
    with alone(root, f"fetching {url} into {root}", say):
        for stage in root.glob("[0-9]*-*"):
            stage.unlink()
        for name in stages:
            run = fetched_run(f"{url}/{name}", need if name == last else "metrics", say)
            (root / name).symlink_to(run.root)
        told = [{"name": name.partition("-")[2], "directory": name} for name in stages]
        write_json(root / CHAIN, {"stages": told, "base": {"directory": "0-base"}})
    return root


def _no_run(url: str, view: View) -> str:
    """Returns why a place cannot be read as a run's mirror."""
    if stages := stages_of(view):
        return f"{url} is the mirror of a chain: give that of a stage, {' or '.join(f'{url}/{one}' for one in stages)}"
    return f"{url} holds no run: give the --mirror of a training"


def _identity(bucket: Bucket) -> str:
    """Returns which run a mirror is of."""
    return str((read_object(bucket, IDENTITY) or {}).get("run", ""))


def _fetch_needed(bucket: Bucket, view: View, run: RunFolder, need: Need, say: Say) -> None:
    if not view.whole:
        raise UserError(f"{bucket.url} has no whole checkpoint yet; wait for the training's next save")
    step = max(view.whole)
    if need == "best":
        means = validation_means(read_metrics(run))
        judged = [one for one in view.whole if one in means]
        if not judged:
            raise UserError(
                f"no checkpoint in {bucket.url} was validated, so none is the best; take the newest instead"
            )
        # Of equal means the later step.
        step = max(judged, key=lambda one: (means[one], one))
    files = read_manifest(bucket, view.whole[step])
    keep_checkpoint(run, step, files)
    if all(checkpoint.step != step for checkpoint in sealed(run)):
        fetch_checkpoint(bucket, view.whole[step], files, run, say)


def _wait_until_dead(bucket: Bucket, view: View, say: Say) -> None:
    """Returns when the newest attempt has ended or gives no sign of life. Raises UserError if it is at work."""
    [(token, resumed), *_] = view.claims[view.owner].items()
    name = claim_name(view.owner, resumed, token)
    first = read_object(bucket, name) or {}
    if first.get("ended"):
        return
    host, seconds = first.get("host", "?"), bucket.silence
    say(f"{attempt_folder(view.owner)} on {host} has not ended: waiting {seconds:.0f} s for a sign.")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = read_object(bucket, name) or {}
        if now.get("ended"):
            return
        # Whether it changes, not how old it is: the clocks of two machines differ.
        if now != first:
            raise UserError(
                f"attempt {view.owner} on {now.get('host', '?')} is at work and mirrors to {bucket.url}; wait, or stop"
                " it (SIGTERM saves)"
            )
        time.sleep(LOOK)
