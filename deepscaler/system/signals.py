"""Collects SIGTERM, SIGUSR2 and Ctrl-C as stop requests for a loop to poll."""

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
"""Signals that schedulers send, some of them as a warning, and Ctrl-C."""

ECHO = 2.0
"""Seconds in which repeated signals count as one stop request. `ray job stop` and SLURM signal every process of a job,
and a parent passes the signal on to a child that has received it already."""


@contextmanager
def stop_signals() -> Iterator[deque[str]]:
    """Yields the names of the signals received, in order, without interrupting anything."""
    wishes: deque[str] = deque()
    last = [-ECHO]
    if threading.current_thread() is not threading.main_thread():  # Python sets handlers in the main thread only
        yield wishes
        return

    def wish(number: int, _: FrameType | None) -> None:
        if time.monotonic() - last[0] >= ECHO:
            last[0] = time.monotonic()
            wishes.append(signal.Signals(number).name)

    # A handler interrupts nothing: since PEP 475 Python repeats a system call that a signal interrupted.
    previous = {number: signal.signal(number, wish) for number in NUMBERS}
    try:
        yield wishes
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
