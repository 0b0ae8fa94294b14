"""Repeats an action every few seconds, in a thread, while a block runs: heartbeats, and marks of use."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def repeating(action: Callable[[], object], seconds: float, name: str) -> Iterator[None]:
    """Calls `action` every `seconds`, the first time after one pause, until the block ends.

    An OSError does not end the thread, because a disk may be full, or a mount lost, for a moment.
    """
    over, thread = repeat_always(action, seconds, name)
    try:
        yield
    finally:
        over.set()
        thread.join()


def repeat_always(action: Callable[[], object], seconds: float, name: str) -> tuple[threading.Event, threading.Thread]:
    """Calls `action` in the same way until the process ends, or until the event that is returned is set."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            with suppress(OSError):
                action()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    return over, thread
