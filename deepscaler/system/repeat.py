"""Does something every few seconds, in a thread, while a block runs: heartbeats, and marks that something is in use."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def repeating(action: Callable[[], object], seconds: float, name: str) -> Iterator[None]:
    """Calls `action` every so many seconds, the first time after one pause, until the block ends.

    An OSError ends nothing: a disk may be full, or a mount lost, for a moment.
    """
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            with suppress(OSError):
                action()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
