"""The process beside a training that keeps its mirror up to date: `python -m deepscaler.mirror.upload '{"url": ...}'`.

It reads the run's folder alone, so that the training never waits for it: neither for a bucket that stalls nor for one
that is gone. It is asked to finish by a file that holds the moment at which it gives up.
"""

import hashlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepscaler.mirror.bucket import Bucket, Limiter, MirrorError
from deepscaler.mirror.layout import (
    FILES,
    IDENTITY,
    MANIFEST,
    Stored,
    View,
    as_bytes,
    attempt_folder,
    claim_name,
    look,
    read_object,
    small_files,
)
from deepscaler.recipes.stored import stored_options
from deepscaler.runs.checkpoints import SEAL, Checkpoint, sealed
from deepscaler.runs.fence import FencedError, check_ownership
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.holds import held
from deepscaler.runs.metrics import read_metrics, validation_means
from deepscaler.runs.mirror_state import MirrorState, read_state, write_state
from deepscaler.runs.retention import Retention
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import BAD_INPUT, DONE, FAILED, FENCED

NUM_STREAMS = 4
"""Files that are sent at once: one stream of S3's seldom fills a link."""

PAUSE = 5.0
"""Seconds between two looks at the run's folder."""

LONGEST_PAUSE = 60.0
"""Seconds between two tries at a bucket that fails."""

BEAT = 20.0
"""Seconds between two signs of life in the mirror."""

STALL = 120.0
"""Seconds without one byte sent after which the process starts anew: a socket may wait for ever."""

KEPT = ("run.json", "recipe.toml", "recipes/*", "data/**/*", "reward/*.py")
LOGGED = ("attempts/*/attempt.json", "attempts/*/metrics.jsonl", "rollouts/*.jsonl", "validation/*.jsonl")
"""Small files of a run that its mirror has: what it is, and what it says of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to mirror; the argument of the process, as JSON."""

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

    def __init__(self, order: Order) -> None:
        self._order = order
        self._run = RunFolder(Path(order.run_dir))
        self._attempt = self._run.attempt(order.attempt)
        self.moved_at = time.monotonic()
        self._bucket = Bucket(order.url, Limiter(order.bandwidth), self._moved)
        self._claim = ""
        self._sent: dict[str, tuple[int, int]] = {}
        """Size and time of small files that need no look."""
        self._index: dict[str, dict[str, Any]] = {}
        """Small files that this attempt has sent."""
        self._earlier: dict[str, dict[str, Any]] = {}
        self._state = read_state(self._run) or MirrorState(url=order.url)

    def _moved(self) -> None:
        self.moved_at = time.monotonic()

    @property
    def finish_by(self) -> float | None:
        """When to give up, in Unix seconds, once the training has ended."""
        try:
            return float(finish_path(self._run, self._order.attempt).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def claim(self) -> None:
        """Owns the mirror for this attempt. Raises FencedError for a newer owner, UserError for another run's."""
        view, number = look(self._bucket), self._order.attempt
        stored = read_object(self._bucket, IDENTITY)
        if stored and stored.get("run") != self._state.run:
            raise UserError(f"{self._bucket.url} is the mirror of another run: give another --mirror")
        if not stored:
            self._bucket.write(IDENTITY, as_bytes({"run": self._state.run}))
        resumed = int(self._attempt.read_record().get("resumed_step") or 0)
        token = self._state.token_of(number)
        write_state(self._run, self._state)
        self._check_owner(view, token)
        self._claim = claim_name(number, resumed, token)
        self._beat(ended=False)
        self._check_owner(look(self._bucket), token)
        self._earlier = small_files(self._bucket, view)
        own = read_object(self._bucket, f"{attempt_folder(number)}/{FILES}")
        self._index = own or {}

    def _check_owner(self, view: View, token: str) -> None:
        """Raises FencedError where a newer attempt owns the mirror, or another start has this one's number."""
        others = set(view.claims.get(self._order.attempt, ())) - {token}
        if view.owner > self._order.attempt or others:
            newer = view.owner if view.owner > self._order.attempt else f"{self._order.attempt} of another start"
            raise FencedError(f"attempt {newer} has taken over {self._bucket.url}")

    def bring_up_to_date(self) -> list[str]:
        """Sends what the mirror lacks, but at most one checkpoint; returns what it still lacks. Raises MirrorError."""
        with suppress(FileNotFoundError):  # a file that was replaced meanwhile: the next look has it
            self._send_small_files()
        view = look(self._bucket)
        self._check_fences(view)
        missing = self._missing(view)
        if missing:
            self._send_checkpoint(missing[0])
            view = look(self._bucket)
            self._check_fences(view)
        self._prune(view)
        left = [f"the checkpoint of step {one.step}" for one in self._missing(view)]
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
        self._beat(ended=True)

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
            names = sorted([*checkpoint.sizes, SEAL], key=lambda name: checkpoint.sizes.get(name, 0), reverse=True)
            with ThreadPoolExecutor(NUM_STREAMS) as pool:
                jobs = [
                    pool.submit(self._bucket.upload, f"{stored.folder}/{name}", checkpoint.path / name)
                    for name in names
                ]
                try:
                    sent = [job.result() for job in jobs]
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        files = dict(zip(names, sent, strict=True))
        there = self._bucket.names()
        for name, told in files.items():
            if there.get(f"{stored.folder}/{name}") != told["size"]:
                raise MirrorError(f"{self._bucket.url}/{stored.folder}/{name} was sent, and is not there in full")
        self._check_fences(look(self._bucket))
        manifest = {"step": checkpoint.step, "attempt": self._order.attempt, "files": files}
        self._bucket.write(f"{stored.folder}/{MANIFEST}", as_bytes(manifest))

    def _prune(self, view: View) -> None:
        """Removes checkpoints by the run's own rule, and what does not count: torn, or of an overtaken attempt."""
        kept = self._kept(set(view.whole))
        for stored, names in view.objects.items():
            if view.whole.get(stored.step) == stored and stored.step in kept:
                continue
            manifest = f"{stored.folder}/{MANIFEST}"  # first: a removal that is interrupted leaves nothing whole
            self._bucket.remove([manifest] if manifest in names else [])
            self._bucket.remove(name for name in names if name != manifest)

    def _send_small_files(self) -> None:
        folder = attempt_folder(self._order.attempt)
        changed: dict[str, dict[str, Any]] = {}
        replaced: list[str] = []
        known = self._earlier | self._index
        for path, name in self._small_files():
            stat = path.stat()
            stamp = (stat.st_size, stat.st_mtime_ns)
            if self._sent.get(name) == stamp:
                continue
            content = path.read_bytes()
            told: dict[str, Any] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            if {key: known.get(name, {}).get(key) for key in told} != told:
                item = f"{folder}/files/{name}-{told['sha256'][:8]}"
                self._bucket.write(item, content)
                replaced += [known[name]["object"]] if name in self._index else []
                changed[name] = {"object": item, **told}
            self._sent[name] = stamp
        if changed:
            self._index |= changed
            self._bucket.write(f"{folder}/{FILES}", as_bytes(self._index))
            self._bucket.remove(replaced)

    def _small_files(self) -> Iterator[tuple[Path, str]]:
        root = self._run.root
        for pattern in (*KEPT, *LOGGED):
            for path in sorted(root.glob(pattern)):
                if path.is_file() and not path.name.startswith("."):
                    yield path, path.relative_to(root).as_posix()

    def _beat(self, *, ended: bool) -> None:
        record = {"host": socket.gethostname(), "beat": time.time(), "ended": ended}
        self._bucket.write(self._claim, as_bytes(record))

    def keep_beating(self) -> None:
        """Gives signs of life in the mirror, for ever."""
        bucket = Bucket(self._order.url)  # of its own: a beat is no sign that an upload moves
        while True:
            time.sleep(BEAT)
            with suppress(UserError, OSError):
                bucket.write(self._claim, as_bytes({"host": socket.gethostname(), "beat": time.time(), "ended": False}))


def finish_path(run: RunFolder, attempt: int) -> Path:
    """Returns the file that asks an attempt's mirror process to finish."""
    return run.attempt(attempt).root / "mirror.finish"


def main() -> int:
    """Mirrors until it is asked to finish; returns an exit code."""
    order = Order(**json.loads(sys.argv[1]))
    try:
        uploader = Uploader(order)
        threading.Thread(target=_watch_for_stalls, args=(uploader, order.stall), daemon=True).start()
        return _run(uploader)
    except FencedError as error:
        print(error, flush=True)
        return FENCED
    except UserError as error:
        print(error, flush=True)
        return BAD_INPUT


def _run(uploader: Uploader) -> int:
    """Tries again and again what the bucket refuses; ends when all is sent, or the time to finish is over."""
    claimed, pause = False, PAUSE
    while True:
        finish_by = uploader.finish_by
        try:
            if not claimed:
                uploader.claim()
                claimed = True
                threading.Thread(target=uploader.keep_beating, name="mirror-beat", daemon=True).start()
            left = uploader.bring_up_to_date()
            pause = PAUSE
            if finish_by and not left:
                uploader.close()
                return DONE
        except (MirrorError, OSError) as error:
            print(f"{time.strftime('%H:%M:%S')} {error}", flush=True)
            uploader.failed(error)
            left, pause = [], min(2 * pause, LONGEST_PAUSE)
        except UserError as error:
            uploader.failed(error)
            raise
        if finish_by and time.time() > finish_by:
            return FAILED
        _wait(uploader, 0.0 if left else pause)


def _wait(uploader: Uploader, seconds: float) -> None:
    """Returns after some seconds, or soon after the process was asked to finish."""
    end, asked = time.monotonic() + seconds, uploader.finish_by
    while time.monotonic() < end and uploader.finish_by == asked:
        time.sleep(0.2)
        uploader.moved_at = time.monotonic()


def _watch_for_stalls(uploader: Uploader, seconds: float) -> None:
    while time.monotonic() - uploader.moved_at < seconds:
        time.sleep(min(1.0, seconds / 4))
    print(f"{time.strftime('%H:%M:%S')} no byte was sent for {seconds:.0f} s: starting anew", flush=True)
    uploader.failed(MirrorError(f"no byte was sent for {seconds:.0f} s"))
    os._exit(FAILED)


if __name__ == "__main__":
    sys.exit(main())
