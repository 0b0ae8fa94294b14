"""Worker processes for comparisons that may hang, eat memory or crash: each is killed and replaced alone.

The time-out is the caller's waiting on a socket, so it works in any thread and in asyncio (no SIGALRM), and no
`__main__` is imported again (as multiprocessing's spawn would: grading from a script without a main guard is fine).
"""

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["equal", "different", "timeout", "worker_died"]

START_DEADLINE = 60.0
"""Seconds for a worker to come up; importing sympy takes about one."""

END_DEADLINE = 5.0
"""Seconds for the template to end by itself."""

ATTEMPTS = 3
"""A task whose worker died under it is tried again in a fresh worker: the killer may have meant another."""

SLACK = 1.5
"""Seconds on the clock beyond the limit, which is processor time: a busy machine must not turn a score to 0."""

FAIR_SHARE = 1.0
"""Seconds on the clock that a comparison has at least, should the wait for the first worker have used up the rest."""


@dataclass
class _Worker:
    """One process and the socket to it."""

    connection: socket.socket
    pid: int
    buffer: bytes = b""

    def kill(self) -> None:
        self.connection.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def read(self, deadline: float) -> dict[str, object] | None:
        """The next message; None if the worker closed the connection. Raises TimeoutError."""
        while b"\n" not in self.buffer:
            self.connection.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                received = self.connection.recv(65536)
            except ConnectionError:
                return None
            if not received:
                return None
            self.buffer += received
        line, _, self.buffer = self.buffer.partition(b"\n")
        message: dict[str, object] = json.loads(line)
        return message


@dataclass
class WorkerPool:
    """Workers are made when all others are busy, up to `size`; then callers wait for one."""

    size: int
    counts: Counter[str] = field(default_factory=Counter)
    """Outcomes since the start: equal, different, timeout, worker_died."""

    def __post_init__(self) -> None:
        self._free = threading.Semaphore(self.size)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: set[int] = set()
        self._template: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def compare(self, mode: str, answer: str, gold: str, limit: float) -> Outcome:
        """Run one comparison for at most `limit` seconds of its own processor time, and SLACK more on the clock.

        Waiting while all workers are busy does not count.
        """
        task = json.dumps({"mode": mode, "answer": answer, "gold": gold, "limit": limit}).encode() + b"\n"
        with self._free:
            outcome: Outcome = "worker_died"
            deadline = time.monotonic() + limit + SLACK
            for _ in range(ATTEMPTS):
                outcome = self._attempt(task, limit, deadline)
                if outcome != "worker_died":
                    break
        with self._lock:
            self.counts[outcome] += 1
        return outcome

    def pids(self) -> list[int]:
        """The worker processes that live now (for tests and monitoring)."""
        with self._lock:
            return [worker.pid for worker in self._idle] + sorted(self._busy)

    def close(self) -> None:
        """End all workers and the template."""
        with self._lock:
            for worker in self._idle:
                worker.kill()
            self._idle.clear()
            self._end_template()

    def _attempt(self, task: bytes, limit: float, deadline: float) -> Outcome:
        worker = self._take()
        started = time.monotonic()
        deadline = max(deadline, started + FAIR_SHARE)
        try:
            worker.connection.settimeout(deadline - started)
            worker.connection.sendall(task)
            reply = worker.read(deadline)
        except TimeoutError:
            worker.kill()
            return "timeout"
        except OSError:
            reply = None
        finally:
            with self._lock:
                self._busy.discard(worker.pid)
        if reply is None:
            worker.kill()
            return "timeout" if time.monotonic() - started >= limit else "worker_died"  # it ends itself at its limit
        with self._lock:
            self._idle.append(worker)
        return "equal" if reply["equal"] else "different"

    def _take(self) -> _Worker:
        with self._lock:
            worker = self._idle.pop() if self._idle else self._fork()
            self._busy.add(worker.pid)
            return worker

    def _end_template(self) -> None:
        """Close its socket, at which it ends; killed if it does not."""
        if self._template is None:
            return
        process, connection = self._template
        self._template = None
        connection.close()
        try:
            process.wait(END_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _fork(self) -> _Worker:
        """A new worker from the template, which is started first if there is none or it died."""
        for _ in range(ATTEMPTS):
            if self._template is None:
                self._template = _start_template()
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    socket.send_fds(self._template[1], [b"+"], [theirs.fileno()])
                except OSError:
                    hello = None
                else:
                    hello = _Worker(ours, pid=0).read(time.monotonic() + START_DEADLINE)
            if hello is not None:
                return _Worker(ours, pid=int(str(hello["pid"])))
            ours.close()
            self._end_template()
        raise RuntimeError("the grader's worker processes do not start: `python -m deepscaler.rewards.worker` says why")


def _start_template() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen([sys.executable, "-m", "deepscaler.rewards.worker"], stdin=theirs.fileno())
    return process, ours


_pools: dict[int, WorkerPool] = {}
_pools_lock = threading.Lock()


def shared_pool() -> WorkerPool:
    """This process's pool: one worker a core, at least eight ($DEEPSCALER_GRADER_WORKERS changes that)."""
    with _pools_lock:
        if os.getpid() not in _pools:  # a fork must not share its parent's sockets
            size = int(os.environ.get("DEEPSCALER_GRADER_WORKERS", "0")) or max(8, os.cpu_count() or 1)
            _pools[os.getpid()] = WorkerPool(size)
        return _pools[os.getpid()]


@atexit.register
def _close_pools() -> None:
    if pool := _pools.get(os.getpid()):
        pool.close()
