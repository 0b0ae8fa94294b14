"""Gives a deadline to calls that may hang, forever if a file system does; such a call holds only its own thread."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class HangingError(TimeoutError):
    """Signals that a call has not returned in time."""


class Patience(Generic[T]):
    """Makes one call at a time; while one hangs, starts no other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], T], seconds: float) -> T:
        """Returns or raises the result of a function. Raises HangingError after `seconds`.

        Raises RuntimeError if no thread can be started.
        """
        deadline = time.monotonic() + seconds
        if self._thread:
            self._thread.join(seconds)
            if self._thread.is_alive():
                raise HangingError(f"{self._name}: the call before has not come back")
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(function())
            except BaseException as error:  # raised again in the caller's thread
                errors.append(error)

        thread = threading.Thread(target=run, name=self._name, daemon=True)
        thread.start()  # raises RuntimeError if the machine has no room for a thread, and the next call tries again
        self._thread = thread
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            raise HangingError(f"{self._name}: not back after {seconds:.0f} s")
        if errors:
            raise errors[0]
        return results[0]
