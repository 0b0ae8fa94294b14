"""Hands out work as files in the evaluation's folder, which every machine sees. An engine claims a file by renaming it.

queue/00000017.json  ->  shards/1-of-4/claimed/00000017.json      {"share": 390, "samples": [["aime/2024-I-1", 3], ...]}

A rename is atomic on every shared file system, and if two engines rename the same file, one of them fails. A kill
leaves nothing to clean up, because the next command builds the queue from the samples on disk. The coordinator cuts
pieces from its backlog and keeps a few ready for each engine. Work that a dead engine claimed but did not draw returns
to the backlog.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from deepscaler.system.errors import UserError
from deepscaler.system.files import write_text
from evaluation.engines.backlog import Backlog, fair_share
from evaluation.engines.pulse import Pulse
from evaluation.requests import Key, Request
from evaluation.samples import Sample

READY = 4
"""Pieces that wait in the folder for each engine, to last until the coordinator looks again."""

POLL = 0.5
"""Seconds between two polls of an engine that has nothing to draw."""


class Queue:
    """Writes pieces of work, on the coordinator's side."""

    def __init__(self, folder: Path, num_engines: int) -> None:
        self._folder, self._num_engines = folder, num_engines
        self._number = 0
        self._share = 0
        self.backlog = Backlog(num_engines=num_engines)
        self.unseen: set[Key] = set()
        """Requested samples that have not appeared in any engine's folder yet."""
        self._claimed: dict[Path, list[Key]] = {}
        """Samples of every claim that was read; a claim never changes, and stays after its samples are drawn."""
        folder.mkdir(parents=True, exist_ok=True)

    def learn(self, lengths: Mapping[Key, int]) -> None:
        """Records the lengths of existing responses, in tokens."""
        for (problem_id, _), tokens in lengths.items():
            self.backlog.drawn(problem_id, tokens)

    def add(self, keys: list[Key]) -> None:
        """Adds a round's samples, and limits each engine to its share of them."""
        self.unseen |= set(keys)
        self._share = fair_share(len(keys), self._num_engines)
        self.backlog.add(keys)
        self.fill()

    def fill(self) -> None:
        """Writes pieces until enough are ready."""
        # An empty backlog asks the file server nothing.
        num_ready = len(self.backlog) and sum(1 for _ in self._folder.glob("*.json"))
        while self.backlog and num_ready < READY * self._num_engines:
            piece = {"share": self._share, "samples": self.backlog.next_chunk()}
            # Engines claim in the order of names, so that the longest work begins first.
            write_text(self._folder / f"{self._number:08d}.json", json.dumps(piece))
            self._number += 1
            num_ready += 1

    def drawn(self, key: Key, tokens: int) -> bool:
        """Records a sample that is in an engine's folder; returns whether it is new."""
        if key not in self.unseen:
            return False
        self.unseen.remove(key)
        self.backlog.drawn(key[0], tokens)
        return True

    def put_back(self, claimed: Path) -> None:
        """Returns the work that a dead engine claimed but did not draw to the backlog."""
        for path in sorted(claimed.glob("*.json")):
            keys = [key for key in _read(path)[1] if key in self.unseen]
            self.backlog.add(keys)
            path.unlink()
        self.fill()

    def held(self, claimed: Path) -> tuple[int, int]:
        """Returns how many pieces an engine has claimed, and how many of their samples it has not drawn yet."""
        paths = list(claimed.glob("*.json"))
        for path in paths:
            with suppress(OSError, ValueError):  # a shared file system shows it late; the next look reads it again
                keys = self._claimed[path] if path in self._claimed else _read(path)[1]
                self._claimed[path] = [key for key in keys if key in self.unseen]
        return len(paths), sum(len(self._claimed.get(path, ())) for path in paths)

    def close(self) -> None:
        """Marks the queue as over, which ends the engines."""
        (self._folder / "over").touch()


class Claims:
    """Claims pieces of work, on an engine's side, each when the engine has room for it.

    Iteration ends when the queue has nothing at the moment; after `wait` it may have more.
    """

    def __init__(self, queue: Path, claimed: Path, to_request: Callable[[Key], Request], pulse: Pulse) -> None:
        self._queue, self._claimed, self._to_request, self._pulse = queue, claimed, to_request, pulse
        self._seen = {path.name for path in claimed.glob("*.json")}
        self._keys: list[Key] = []
        self._num_held, self._share = 0, 1

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        if not self._keys and (self._num_held >= self._share or not self._claim()):
            raise StopIteration
        return self._to_request(self._keys.pop())

    def drawn(self, sample: Sample) -> None:
        """Makes room for another request, because a sample is saved."""
        del sample
        self._num_held -= 1

    def wait(self) -> bool:
        """Waits for work; returns False once the queue is over."""
        while True:
            if not self._queue.is_dir():
                raise UserError(f"{self._queue} is gone: the command that handed out the work has ended; rerun it")
            is_over = (self._queue / "over").exists()  # read before the last claim, so no late piece is missed
            if self._keys or self._claim():
                return True
            if is_over:
                return False
            self._pulse.idle()
            time.sleep(POLL)

    def _claim(self) -> bool:
        """Claims the first piece that is left; returns whether there was one."""
        for path in sorted(self._queue.glob("*.json")):
            with suppress(FileNotFoundError):  # another engine was faster
                path.rename(self._claimed / path.name)
                break
        # Look in the folder instead of trusting rename(): over NFS a rename can succeed on the server and still report
        # an error, if the answer was lost and the client asked again.
        new = sorted(path for path in self._claimed.glob("*.json") if path.name not in self._seen)
        for path in new:
            self._share, keys = _read(path)
            self._keys = [*reversed(keys), *self._keys]
            self._num_held += len(keys)
            self._seen.add(path.name)
        return bool(new)


def _read(path: Path) -> tuple[int, list[Key]]:
    piece = json.loads(path.read_text(encoding="utf-8"))
    return int(piece["share"]), [(str(problem_id), int(sample)) for problem_id, sample in piece["samples"]]
