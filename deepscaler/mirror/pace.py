"""Limits the pace at which bytes are sent, and shows whether they move."""

import io
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

SWALLOWED = 16 << 20
"""Bytes that go into the buffers of a connection, whether anybody at its other end takes them or not."""


class Limiter:
    """Lets so many bytes a second through, over all threads; 0 for as many as come."""

    def __init__(self, bytes_per_second: float = 0.0) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0
        self._lock = threading.Lock()

    def wait(self, size: int, waiting: Callable[[], None] = lambda: None) -> None:
        """Returns when so many bytes more may be sent; calls `waiting` about once a second until then."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + size / self._rate
            until = self._free_at
        # Outside of the lock: every thread has its turn in time already, and none holds up the next one's
        # reservation.
        while (pause := until - time.monotonic()) > 0:
            time.sleep(min(pause, 1.0))
            waiting()


class Motion:
    """Remembers when bytes have last moved."""

    def __init__(self) -> None:
        self.at = time.monotonic()

    def note(self) -> None:
        """Remembers this moment."""
        self.at = time.monotonic()


class Watched(io.BufferedIOBase):
    """A file that is read to be hashed, then to be sent: at the pace of a limiter, and seen to move."""

    def __init__(self, source: BinaryIO, limiter: Limiter, moved: Callable[[], None]) -> None:
        self._source, self._limiter, self._moved = source, limiter, moved
        self._is_sent = False
        self._furthest = 0

    def begin_sending(self) -> None:
        """Keeps to the pace from here on."""
        self._is_sent, self._furthest = True, 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Returns the next bytes, as late as the pace wants."""
        content = self._source.read(-1 if size is None else size)
        if self._is_sent:
            self._limiter.wait(len(content), self._moved)
        if (at := self._source.tell()) > self._furthest:
            self._furthest = at
            self._moved()
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Goes to a place in the file."""
        at = self._source.seek(offset, whence)
        # Where a request is tried again, what the connection of a silent server swallows once more does not count.
        self._furthest = min(self._furthest, at + SWALLOWED)
        return at

    def tell(self) -> int:
        """Returns the place in the file."""
        return self._source.tell()

    def readable(self) -> bool:
        """Returns that it can be read."""
        return True

    def seekable(self) -> bool:
        """Returns that a request can be tried again."""
        return True

    def close(self) -> None:
        """Closes the file."""
        self._source.close()
        super().close()
