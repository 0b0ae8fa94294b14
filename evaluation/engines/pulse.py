"""Shows that an engine is alive: it counts its steps in a file, which whoever hands out the work reads.

shards/1-of-4/alive      {"host": "gpu7", "pid": 4242, "beats": 120}         -1 beats: it is loading

Samples alone do not show it, because one response of 32,768 tokens may take half an hour. A thread that counts would
not either, because it would keep counting beside a GPU that hangs.
"""

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 10.0
"""Seconds between two beats in the file, however many steps there are."""

LOADING = -1
"""Beats of an engine that has not loaded its model yet."""


class Pulse:
    """Counts an engine's steps, on its own side."""

    def __init__(self, path: Path) -> None:
        self._path, self._beats, self._next = path, LOADING, 0.0
        self._write()  # who and where it is, in case it hangs while it loads

    def loaded(self) -> None:
        """Records that the engine is about to take its first step."""
        self._beats = 0
        self._write()

    def beat(self) -> None:
        """Records that the engine has taken a step."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + INTERVAL
            self._beats = max(self._beats, 0) + 1
            self._write()

    def idle(self) -> None:
        """Records that an engine waits for work; one that has not loaded yet says nothing."""
        # An engine claims its first work before it loads, and loading takes longer than any step.
        if self._beats != LOADING:
            self.beat()

    def _write(self) -> None:
        told = {"host": socket.gethostname(), "pid": os.getpid(), "beats": self._beats}
        # A full disk ends the engine with its next sample, and says so better.
        with suppress(OSError):
            self._path.write_text(json.dumps(told) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Beats:
    """Holds what an engine's file says."""

    host: str = ""
    pid: int = 0
    count: int = LOADING

    @classmethod
    def read(cls, path: Path) -> "Beats | None":
        """Returns what a file says; None if it says nothing, as in the middle of a write."""
        try:
            told = json.loads(path.read_bytes())
            return cls(str(told["host"]), int(told["pid"]), int(told["beats"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Silence:
    """Measures how long an engine has shown no sign of life, on the side of whoever hands out the work."""

    FIRST = 3600.0
    """Seconds that an engine may take to load and for its first step."""
    LEAST = 900.0
    """Seconds without a step after which an engine counts as hung, at least."""
    TIMES = 5.0
    """An engine may take this many times its longest step so far for one."""
    MOST_BETWEEN = 30.0
    """Seconds that count at most between two looks: a file system that hangs keeps whoever looks from looking."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Seconds without a sign of life that were observed."""
        self.beats = Beats()
        self._longest = 0.0
        self._looked = time.monotonic()

    def look(self, path: Path, *, has_moved: bool, has_work: bool) -> None:
        """Reads the engine's file. New samples and claims are signs of life, too.

        An engine without work need not show any.
        """
        now = time.monotonic()
        self.seconds += min(now - self._looked, self.MOST_BETWEEN)
        self._looked = now
        found = Beats.read(path) or self.beats
        if found != self.beats or has_moved or not has_work:
            if self.beats.count != LOADING:
                self._longest = max(self._longest, self.seconds)
            self.seconds = 0.0
        self.beats = found

    @property
    def bound(self) -> float:
        """Returns the seconds of silence after which the engine counts as hung."""
        return max(self.LEAST, self.TIMES * self._longest) if self.beats.count > 0 else self.FIRST
