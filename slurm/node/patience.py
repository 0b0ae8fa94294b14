"""Bears a shared file system that fails for a moment: that must not cost a job a start, or end it for good."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from deepscaler.runs.fence import STALE
from deepscaler.system.files import FULL

POLL = 0.2
T = TypeVar("T")


class Patience:
    """Suppresses the OSErrors of a block that is repeated, until they have come for STALE seconds in a row."""

    def __init__(self) -> None:
        self._failing_since: float | None = None

    @contextmanager
    def bear(self) -> Iterator[None]:
        """Raises what the block raises if the disk is full, which does not pass, or if it has failed for too long."""
        try:
            yield
            self._failing_since = None
        except OSError as error:
            self._failing_since = self._failing_since or time.monotonic()
            # As long as others wait for a training's heartbeat, and the training itself bears it.
            if error.errno in FULL or time.monotonic() - self._failing_since > STALE:
                raise


def insist(action: Callable[[], T]) -> T:
    """Returns what an action returns, repeated while the file system fails for a moment."""
    patience = Patience()
    while True:
        with patience.bear():
            return action()
        time.sleep(POLL)
