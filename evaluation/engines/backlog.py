"""Orders the samples that are still to be drawn: long responses first, in pieces that shrink toward the end.

Backlog([("aime/1", 0), ("aime/1", 1), ("math/7", 0)], num_engines=2).next_chunk()  ->  [("aime/1", 0)]

Engines pull from one backlog, so none idles while another has work waiting. What remains is the tail, in which engines
run out of work one after another. The tail is shortest if the last samples to start are short. Nobody knows a
response's length before it is drawn, but responses to one problem resemble each other, so the order follows the
lengths that have come back.
"""

import heapq
from collections.abc import Iterable, Mapping
from math import inf

from evaluation.requests import Key, derive_seed

CHUNK = 64
"""Most samples that an engine claims at once: one second of work for an H100 that draws short responses."""

CHUNKS_LEFT = 16
"""Chunks that must remain for each engine whenever one is cut, so the last chunks are single samples."""


class Backlog:
    """Holds the samples to draw, by problem, and the lengths of those that were drawn."""

    def __init__(
        self, keys: Iterable[Key] = (), num_engines: int = 1, lengths: Mapping[Key, int] | None = None
    ) -> None:
        self._num_engines = num_engines
        self._left: dict[str, list[int]] = {}
        self._taken: dict[str, int] = {}
        self._lengths: dict[str, tuple[int, int]] = {}
        self._num_left = 0
        self.add(keys)
        for (problem_id, _), tokens in (lengths or {}).items():
            self.drawn(problem_id, tokens)

    def __len__(self) -> int:
        """Returns how many samples nobody has taken."""
        return self._num_left

    def add(self, keys: Iterable[Key]) -> None:
        """Adds samples. A problem's lowest number is drawn first."""
        for problem_id, sample in keys:
            self._left.setdefault(problem_id, []).append(sample)
            self._num_left += 1
        for numbers in self._left.values():
            # Descending, because pop takes the last one.
            numbers.sort(reverse=True)

    def drawn(self, problem_id: str, tokens: int) -> None:
        """Records the length of a response, in tokens."""
        count, total = self._lengths.get(problem_id, (0, 0))
        self._lengths[problem_id] = (count + 1, total + tokens)

    def next_chunk(self) -> list[Key]:
        """Removes and returns the samples that an engine should draw next; empty if none are left."""
        return self.take(chunk_size(self._num_left, self._num_engines))

    def take(self, count: int) -> list[Key]:
        """Removes and returns `count` samples, those with the longest expected response first."""
        mean = self._mean()
        order = [(*self._rank(problem_id, mean), _shuffled(problem_id), problem_id) for problem_id in self._left]
        heapq.heapify(order)
        taken: list[Key] = []
        while order and len(taken) < count:
            rank, _, lot, problem_id = heapq.heappop(order)
            numbers = self._left[problem_id]
            taken.append((problem_id, numbers.pop()))
            self._taken[problem_id] = self._taken.get(problem_id, 0) + 1
            if numbers:  # back into the heap, behind equal problems that have given fewer samples
                heapq.heappush(order, (rank, self._taken[problem_id], lot, problem_id))
            else:
                del self._left[problem_id]
        self._num_left -= len(taken)
        return taken

    def _rank(self, problem_id: str, mean: float) -> tuple[float, int]:
        return -self.expected_tokens(problem_id, mean), self._taken.get(problem_id, 0)

    def expected_tokens(self, problem_id: str, mean: float) -> float:
        """Returns a problem's mean response length, shrunk toward the overall mean as if by one more response."""
        count, total = self._lengths.get(problem_id, (0, 0))
        # a problem without a response counts as long: those whose first responses are still being drawn keep
        # everybody waiting
        return (total + mean) / (count + 1) if count else inf

    def _mean(self) -> float:
        count = sum(count for count, _ in self._lengths.values())
        return sum(total for _, total in self._lengths.values()) / count if count else 0.0


def chunk_size(num_left: int, num_engines: int) -> int:
    """Returns how many samples to hand out at once: a share of what is left, and one at the end."""
    return max(1, min(CHUNK, num_left // (CHUNKS_LEFT * num_engines)))


def fair_share(num_samples: int, num_engines: int) -> int:
    """Returns how many samples an engine may hold at once, so the first engines to start leave some for the others."""
    return -(-num_samples // num_engines)


# A fixed shuffle: every start of a command breaks ties in the same order.
def _shuffled(problem_id: str) -> int:
    return derive_seed(0, problem_id, 0)
