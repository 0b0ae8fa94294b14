"""The work of an engine that draws alone: requests straight from the backlog, as long as rounds bring some."""

from collections.abc import Callable, Iterator

from evaluation.engines.backlog import Backlog
from evaluation.progress import SampleProgress
from evaluation.requests import Key, Request
from evaluation.rounds import Rounds
from evaluation.samples import Sample


class OwnWork:
    """Requests of one round after another; iteration ends with each round, and `wait` begins the next."""

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
            self._keys = self._backlog.next_chunk()[::-1]
        if not self._keys:
            raise StopIteration
        return self._to_request(self._keys.pop())

    def drawn(self, sample: Sample) -> None:
        """Learns from a sample that is saved."""
        self._backlog.drawn(sample.problem_id, sample.response_tokens)
        self._progress.advance(sample)

    def wait(self) -> bool:
        """Begins the next round; returns False when there is none."""
        keys = self._rounds.next()
        self._backlog = Backlog(keys, lengths=self._rounds.lengths)
        self._progress.expect(len(self._rounds.lengths), len(keys))
        if keys and self._rounds.lengths:
            self._tell(f"Going on with {len(keys)} samples, {len(self._rounds.lengths)} are there.")
        return bool(keys)
