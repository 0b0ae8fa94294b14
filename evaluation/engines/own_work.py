"""Feeds an engine that draws alone: requests come straight from the backlog, one round after another."""

from collections.abc import Callable, Iterator

from evaluation.engines.backlog import Backlog
from evaluation.progress import SampleProgress
from evaluation.requests import Key, Request
from evaluation.rounds import Rounds
from evaluation.samples import Sample


class OwnWork:
    """Yields the requests of one round; iteration ends with the round, and `wait` begins the next."""

    def __init__(
        self,
        rounds: Rounds,
        to_request: Callable[[Key], Request],
        progress: SampleProgress,
        tell: Callable[[str], None],
    ) -> None:
        self._rounds, self._to_request, self._progress, self._tell = rounds, to_request, progress, tell
        self._backlog = Backlog()
        self._keys: list[Key] = []

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        if not self._keys:
            # Reversed, because pop takes the last one.
            self._keys = self._backlog.next_chunk()[::-1]
        if not self._keys:
            raise StopIteration
        return self._to_request(self._keys.pop())

    def drawn(self, sample: Sample) -> None:
        """Records the length of a saved sample and advances the progress bar."""
        self._backlog.drawn(sample.problem_id, sample.response_tokens)
        self._progress.advance(sample)

    def wait(self) -> bool:
        """Begins the next round; returns False when there is none."""
        keys = self._rounds.next()
        self._backlog = Backlog(keys, lengths=self._rounds.lengths)
        self._progress.expect(len(self._rounds.lengths), len(keys))
        if keys and self._rounds.lengths:
            self._tell(f"Drawing {len(keys)} more samples; {len(self._rounds.lengths)} are saved.")
        return bool(keys)
