"""Brings one attempt's part of a mirror up to date: claims it, sends checkpoints, removes what is not to stay."""

import json
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepscaler.mirror.bucket import Bucket, MirrorError
from deepscaler.mirror.hub import place
from deepscaler.mirror.layout import IDENTITY, MANIFEST, Stored, View, as_bytes, claim_name, look, read_object
from deepscaler.mirror.pace import Limiter, Motion
from deepscaler.mirror.small import SmallFiles
from deepscaler.mirror.url import check_writable
from deepscaler.recipes.stored import stored_options
from deepscaler.runs.checkpoints import SEAL, Checkpoint, sealed
from deepscaler.runs.fence import FencedError, check_ownership
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.holds import held
from deepscaler.runs.metrics import read_metrics, validation_means
from deepscaler.runs.mirror_state import MirrorState, stored_state, write_state
from deepscaler.runs.retention import Retention
from deepscaler.system.errors import UserError
from deepscaler.system.files import file_size

NUM_STREAMS = 4
"""Files that are sent at once: one stream of S3's seldom fills a link."""

STALL = 120.0
"""Seconds without one byte sent after which the process restarts: a socket may wait forever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Argument of the uploading process, as JSON: what to mirror."""

    run_dir: str
    attempt: int
    url: str
    bandwidth: float = 0.0
    """Bytes a second; 0 for no limit."""
    stall: float = STALL

    def words(self) -> str:
        """Returns the argument."""
        return json.dumps(asdict(self))


class Uploader:
    """One attempt's part of a mirror."""

    def __init__(self, order: Order, motion: Motion | None = None) -> None:
        self._order = order
        self._run = RunFolder(Path(order.run_dir))
        self._attempt = self._run.attempt(order.attempt)
        self._bucket = place(check_writable(order.url), Limiter(order.bandwidth), (motion or Motion()).note)
        self._claim = ""
        self._beating, self._is_closed = threading.Lock(), False
        self._small: SmallFiles | None = None
        self._state = _state_of(order)

    @property
    def pause(self) -> float:
        """Returns how many seconds are between two looks at the run's folder."""
        return self._bucket.pause

    def claim(self) -> None:
        """Owns the mirror for this attempt. Raises FencedError for a newer owner, UserError for another run's."""
        self._bucket.prepare()
        view, number = look(self._bucket), self._order.attempt
        stored = read_object(self._bucket, IDENTITY)
        if stored and stored.get("run") != self._state.run:
            raise UserError(f"{self._bucket.url} is the mirror of another run: give another --mirror")
        resumed = int(self._attempt.read_record().get("resumed_step") or 0)
        token = self._state.token_of(number)
        # On the disk before anything is in the bucket: this process, killed in between and started again, has to know
        # its own identity and claim from a stranger's.
        write_state(self._run, self._state)
        if not stored:
            self._bucket.write(IDENTITY, as_bytes({"run": self._state.run}))
        # Before the claim, so that a zombie claims nothing.
        self._check_owner(view, token)
        self._claim = claim_name(number, resumed, token)
        self._beat(self._bucket, ended=False)
        # After it once more: two starts may have passed the first check together.
        self._check_owner(look(self._bucket), token)
        self._small = SmallFiles(self._bucket, self._run, number, view)

    def _check_owner(self, view: View, token: str) -> None:
        """Raises FencedError if a newer attempt owns the mirror, or another start has this one's number."""
        others = set(view.claims.get(self._order.attempt, ())) - {token}
        if view.owner > self._order.attempt or others:
            newer = view.owner if view.owner > self._order.attempt else f"{self._order.attempt} of another start"
            raise FencedError(f"attempt {newer} has taken over {self._bucket.url}")

    def bring_up_to_date(self) -> list[str]:
        """Sends what the mirror lacks, but at most one checkpoint; returns what it still lacks. Raises MirrorError."""
        assert self._small, "an attempt claims its mirror first"
        view = look(self._bucket)
        self._check_fences(view)
        missing = self._missing(view)
        # Only now: what a checkpoint's step has logged and drawn is on the disk before the checkpoint counts.
        self._small.send()
        if missing:
            self._state = self._state.lacking(_told(missing))
            write_state(self._run, self._state)
            # One that is not as it was saved keeps no other back; by its size, which is known before it is sent.
            self._send_checkpoint(next((one for one in missing if not _difference(one)), missing[0]))
            view = look(self._bucket)
            self._check_fences(view)
        self._prune(view)
        left = _told(self._missing(view))
        self._state = self._state.reached(sorted(view.whole), left)
        write_state(self._run, self._state)
        return left

    def failed(self, error: Exception) -> None:
        """Writes down why the mirror falls behind."""
        with suppress(OSError):
            self._state = self._state.failing(str(error))
            write_state(self._run, self._state)

    def close(self) -> None:
        """Says in the mirror that the attempt has ended, so that the next one need not wait for it."""
        # A sign of life that is on its way would come after the end, and the next attempt wait for another one.
        with self._beating:
            self._beat(self._bucket, ended=True)
            self._is_closed = True
        self._state = self._state.completed(self._order.attempt)
        write_state(self._run, self._state)

    def _check_fences(self, view: View) -> None:
        check_ownership(self._run, self._attempt)
        self._check_owner(view, self._state.token_of(self._order.attempt))

    def _retention(self) -> Retention:
        recipe = stored_options(self._run.read_manifest()["recipe"])
        return Retention(recipe["keep"], recipe["keep_every"], int(recipe["keep_best"]))

    def _kept(self, steps: set[int]) -> set[int]:
        return self._retention().kept(steps, validation_means(read_metrics(self._run))) if steps else set()

    def _missing(self, view: View) -> list[Checkpoint]:
        """Returns the checkpoints on disk that the mirror should have and lacks, the newest first."""
        found = sealed(self._run)
        kept = self._kept({one.step for one in found} | set(view.whole))
        return [one for one in found if one.step in kept and one.step not in view.whole]

    def _send_checkpoint(self, checkpoint: Checkpoint) -> None:
        stored = Stored(self._order.attempt, checkpoint.step)
        with held(self._run, checkpoint.step):
            if not (checkpoint.path / SEAL).is_file():  # pruned a moment ago
                return
            if difference := _difference(checkpoint):
                raise MirrorError(f"the checkpoint of step {checkpoint.step} cannot be mirrored: {difference}")
            # The largest first, or one stream would send it at the end while the others have nothing to do; the
            # seal comes last.
            names = sorted([*checkpoint.sizes, SEAL], key=lambda name: checkpoint.sizes.get(name, 0), reverse=True)
            with ThreadPoolExecutor(NUM_STREAMS) as pool:
                jobs = [
                    pool.submit(self._bucket.upload, f"{stored.folder}/{name}", checkpoint.path / name)
                    for name in names
                ]
                try:
                    sent = [job.result() for job in jobs]
                except BaseException:
                    # Leaving the block would send all files that still wait, gigabytes after the first has
                    # failed.
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        files = dict(zip(names, sent, strict=True))
        if difference := _difference(checkpoint, files):
            raise MirrorError(f"the checkpoint of step {checkpoint.step} was not sent as it was saved: {difference}")
        # Once more, because the upload took minutes: behind the manifest the checkpoint counts.
        self._check_fences(look(self._bucket))
        manifest = {"step": checkpoint.step, "attempt": self._order.attempt, "files": files}
        self._bucket.change(
            {f"{stored.folder}/{MANIFEST}": as_bytes(manifest)},
            sent={f"{stored.folder}/{name}": told for name, told in files.items()},
        )

    def _prune(self, view: View) -> None:
        """Removes checkpoints by the run's own rule, and what does not count: torn, or of an overtaken attempt."""
        kept = self._kept(set(view.whole))
        self._bucket.remove(
            [
                name
                for stored, names in view.objects.items()
                if view.whole.get(stored.step) != stored or stored.step not in kept
                # The manifest first: a removal that is interrupted leaves nothing whole.
                for name in sorted(names, key=lambda name: not name.endswith(f"/{MANIFEST}"))
            ]
        )

    def _beat(self, bucket: Bucket, *, ended: bool) -> None:
        record = {"host": socket.gethostname(), "beat": time.time(), "ended": ended}
        bucket.write(self._claim, as_bytes(record))

    def keep_beating(self) -> None:
        """Gives signs of life in the mirror, until the attempt has ended."""
        bucket: Bucket | None = None
        while not self._is_closed:
            time.sleep(self._bucket.beat)
            with self._beating, suppress(UserError, OSError):
                # Of its own, since a beat does not show that an upload moves. Here, since this may fail for a moment,
                # too, and an attempt without a beat is taken for dead.
                bucket = bucket or place(self._order.url)
                if not self._is_closed:
                    self._beat(bucket, ended=False)


def _difference(checkpoint: Checkpoint, sent: Mapping[str, dict[str, Any]] | None = None) -> str:
    """Returns how a file on disk, or as it was sent, differs from its size in the checkpoint's seal; else nothing."""
    for name, size in checkpoint.sizes.items():
        found = sent[name]["size"] if sent else file_size(checkpoint.path / name)
        if found != size:
            return f"{name} has {found} of {size} bytes"
    return ""


def note_failure(order: Order, error: Exception) -> None:
    """Writes down why the mirror falls behind, for a process whose uploader is not made yet or does not return."""
    with suppress(OSError, UserError):
        write_state(RunFolder(Path(order.run_dir)), _state_of(order).failing(str(error)))


def _state_of(order: Order) -> MirrorState:
    """Returns the state of an order's mirror, a new one if it has none. Raises UserError."""
    return (stored_state(RunFolder(Path(order.run_dir))) or MirrorState(url=order.url)).at_place(order.url)


def _told(checkpoints: Sequence[Checkpoint]) -> list[str]:
    return [f"the checkpoint of step {one.step}" for one in checkpoints]


def finish_by(order: Order) -> float | None:
    """Returns when to give up after the training has ended, in Unix seconds; None while it has not."""
    try:
        return float(finish_path(RunFolder(Path(order.run_dir)), order.attempt).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def finish_path(run: RunFolder, attempt: int) -> Path:
    """Returns the file that asks an attempt's mirror process to finish."""
    return run.attempt(attempt).root / "mirror.finish"
