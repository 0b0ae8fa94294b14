"""Shows the progress of an evaluation: a live bar on a terminal, an occasional plain line in a log."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evaluation.samples import Sample

PLAIN_INTERVAL = 10.0
"""Seconds between two lines in a log."""

MIN_DRAWN = 10
"""Samples to wait for before estimating the time left, because the first ones to finish are the shortest."""


class SampleProgress:
    """Counts samples and tokens, and reports them on the console."""

    def __init__(self, console: Console, done: int, total: int, bar: Progress | None, interval: float) -> None:
        self._console, self._bar, self._interval = console, bar, interval
        self._done, self._total, self._first = done, total, done
        self._tokens = 0
        self._started = self._told = time.monotonic()
        self._task = bar.add_task("samples", total=total, completed=done, speed="") if bar else None

    def expect(self, done: int, more: int) -> None:
        """Sets how many samples are there and how many more will come."""
        # samples that others drew must not count as this command's, by whose pace the time left is estimated
        self._first += done - self._done
        self._done, self._total = done, done + more
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, total=self._total)

    def advance(self, sample: Sample) -> None:
        """Counts one more sample on disk."""
        self.tell([sample.response_tokens])

    def tell(self, lengths: Collection[int], state: str = "") -> None:
        """Counts more samples, given the tokens of each, and shows the state of the engines that draw them."""
        self._done += len(lengths)
        self._tokens += sum(lengths)
        now = time.monotonic()
        speed, more = f"{self._speed(now):,.0f} tok/s", f"; {state}" if state else ""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, speed=speed + more)
        # the last sample always has its line; without `lengths` each later poll of idle engines would print it
        # again
        elif now - self._told >= self._interval or (lengths and self._done == self._total):
            self._told = now
            drawn = self._done - self._first
            left = (now - self._started) / max(drawn, 1) * (self._total - self._done)
            estimate = f", {left:,.0f} s left" if drawn >= MIN_DRAWN or not left else ""
            self._console.print(f"{self._done}/{self._total} samples, {speed}{estimate}{more}", soft_wrap=True)

    def _speed(self, now: float) -> float:
        return self._tokens / max(now - self._started, 1e-9)


@contextmanager
def show_progress(
    console: Console, done: int = 0, total: int = 0, interval: float = PLAIN_INTERVAL
) -> Iterator[SampleProgress]:
    """Shows progress over all samples, `done` of which were there before; a line every `interval` seconds in a log."""
    if not console.is_terminal:
        yield SampleProgress(console, done, total, None, interval)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield SampleProgress(console, done, total, bar, interval)
