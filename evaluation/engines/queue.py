"""Work as files in the evaluation's folder, which every machine sees: engines claim a piece by renaming it.

queue/00000017.json  ->  shards/1-of-4/claimed/00000017.json      {"share": 390, "samples": [["aime/2024-I-1", 3], ...]}

A rename is atomic on every shared file system, and of two engines that rename one file, one fails. The coordinator cuts
pieces from its backlog and keeps a few ready for each engine; what a dead engine had claimed and not drawn goes back.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from deepscaler.system.errors import UserError
from deepscaler.system.files import write_text
from evaluation.engines.backlog import Backlog, fair_share
from evaluation.requests import Key, Request
from evaluation.samples import Sample

READY = 4
"""Pieces that wait in the folder for each engine: what it may claim until the coordinator looks again."""

POLL = 0.5
"""Seconds between two looks of an engine that has nothing to draw."""


class Queue:
    """The coordinator's side."""

    def __init__(self, folder: Path, num_engines: int) -> None:
        self._folder, self._num_engines = folder, num_engines
        self._number = 0
        self._share = 0
        self.backlog = Backlog(num_engines=num_engines)
        self.unseen: set[Key] = set()
        """Samples that were asked for and have not been seen in any engine's folder."""
        folder.mkdir(parents=True, exist_ok=True)

    def learn(self, lengths: Mapping[Key, int]) -> None:
        """Learns how long the responses were that are there already, in tokens."""
        for (problem_id, _), tokens in lengths.items():
            self.backlog.drawn(problem_id, tokens)

    def add(self, keys: list[Key]) -> None:
        """Adds a round's samples; an engine should hold no more than its share of them."""
        self.unseen |= set(keys)
        self._share = fair_share(len(keys), self._num_engines)
        self.backlog.add(keys)
        self.fill()

    def fill(self) -> None:
        """Cuts pieces until enough are ready."""
        num_ready = len(self.backlog) and sum(1 for _ in self._folder.glob("*.json"))
        while self.backlog and num_ready < READY * self._num_engines:
            piece = {"share": self._share, "samples": self.backlog.next_chunk()}
            write_text(self._folder / f"{self._number:08d}.json", json.dumps(piece))
            self._number += 1
            num_ready += 1

    def drawn(self, key: Key, tokens: int) -> bool:
        """Takes note of a sample that is in an engine's folder; returns whether it is new."""
        if key not in self.unseen:
            return False
        self.unseen.remove(key)
        self.backlog.drawn(key[0], tokens)
        return True

    def put_back(self, claimed: Path) -> None:
        """Adds what an engine that has ended claimed and did not draw."""
        for path in sorted(claimed.glob("*.json")):
            keys = [key for key in _read(path)[1] if key in self.unseen]
            self.backlog.add(keys)
            path.unlink()
        self.fill()

    def close(self) -> None:
        """Says that no more comes: engines end."""
        (self._folder / "over").touch()


class Claims:
    """An engine's side: requests as long as there are any, each piece claimed when the engine has room for it.

    Iteration ends when nothing is to be had at the moment; after `wait` there may be more.
    """

    def __init__(self, queue: Path, claimed: Path, to_request: Callable[[Key], Request]) -> None:
        self._queue, self._claimed, self._to_request = queue, claimed, to_request
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
        """Makes room: a sample is saved."""
        del sample
        self._num_held -= 1

    def wait(self) -> bool:
        """Waits for something to draw; returns False when there will be nothing."""
        while True:
            if not self._queue.is_dir():
                raise UserError(f"{self._queue} is gone: whatever gave out the work has ended; start it again")
            is_over = (self._queue / "over").exists()
            if self._keys or self._claim():
                return True
            if is_over:
                return False
            time.sleep(POLL)

    def _claim(self) -> bool:
        """Takes the first piece that is left."""
        for path in sorted(self._queue.glob("*.json")):
            with suppress(FileNotFoundError):  # another engine was faster
                path.rename(self._claimed / path.name)
                break
        # what a rename over a network claimed before its answer was lost is there, too
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
