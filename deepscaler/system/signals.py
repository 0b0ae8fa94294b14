"""Wishes to stop that come as signals."""

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
"""What schedulers send, some of them as a warning, and Ctrl-C."""

ECHO = 2.0
"""Seconds in which a signal that comes again is the same wish: `ray job stop` and SLURM signal every process of a job,
and a parent passes on to its child what that has got already."""


@contextmanager
def stop_signals() -> Iterator[deque[str]]:
    """Yield the names of the signals that came, the first first; nothing is interrupted."""
    wishes: deque[str] = deque()
    last = [-ECHO]
    if threading.current_thread() is not threading.main_thread():
        yield wishes
        return

    def wish(number: int, _: FrameType | None) -> None:
        if time.monotonic() - last[0] >= ECHO:
            last[0] = time.monotonic()
            wishes.append(signal.Signals(number).name)

    previous = {number: signal.signal(number, wish) for number in NUMBERS}
    try:
        yield wishes
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
