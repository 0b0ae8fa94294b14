"""Wishes to stop that come as signals."""

import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

NUMBERS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
"""What schedulers send, some of them as a warning, and Ctrl-C."""


@contextmanager
def stop_signals() -> Iterator[deque[str]]:
    """Yield the names of the signals that came, the first first; nothing is interrupted."""
    wishes: deque[str] = deque()
    if threading.current_thread() is not threading.main_thread():
        yield wishes
        return
    previous = {n: signal.signal(n, lambda got, _: wishes.append(signal.Signals(got).name)) for n in NUMBERS}
    try:
        yield wishes
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
