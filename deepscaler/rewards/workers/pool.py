"""Worker processes for work that may hang, eat memory or crash: each is killed and replaced alone.

The time-out is the caller's waiting on a socket, so it works in any thread and in asyncio (no SIGALRM), and no
`__main__` is imported again (as multiprocessing's spawn would: grading from a script without a main guard is fine).
"""

import atexit
import json
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from deepscaler.rewards.workers.template import Template, Worker

Outcome = Literal["equal", "different", "timeout", "worker_died"]
Failure = Literal["timeout", "worker_died"]

ATTEMPTS = 3
"""A task whose worker died under it is tried again in a fresh worker: the killer may have meant another."""

SLACK = 1.2
"""Seconds on the clock beyond the limit, which is processor time: a busy machine must not turn a score to 0."""

START_DEADLINE = 120.0
"""Seconds for a worker to come up; the first imports the mathematics: two or three, many more on a busy machine."""

COMPARISONS = ("-m", "deepscaler.rewards.workers.worker")


@dataclass
class WorkerPool:
    """Workers are made when all others are busy, up to `size`; then callers wait for one."""

    size: int
    template: Template = field(default_factory=lambda: Template(COMPARISONS))
    """Whose workers they are."""
    counts: Counter[str] = field(default_factory=Counter)
    """Outcomes since the start: equal, different, timeout, worker_died."""

    def __post_init__(self) -> None:
        self._free = threading.Semaphore(self.size)
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._busy: set[int] = set()

    def compare(self, mode: str, answer: str, gold: str, limit: float) -> Outcome:
        """Run one comparison for at most `limit` seconds of its own processor time, and SLACK more on the clock.

        Waiting for a worker (all are busy, or the first is starting) does not count: it says nothing of the answer.
        """
        task = {"mode": mode, "answer": answer, "gold": gold, "limit": limit}
        reply = self.ask(task, limit, limit + SLACK)
        outcome: Outcome = reply if isinstance(reply, str) else "equal" if reply.get("equal") else "different"
        with self._lock:
            self.counts[outcome] += 1
        return outcome

    def ask(
        self, task: dict[str, Any], limit: float, clock_limit: float, attempts: int = ATTEMPTS
    ) -> dict[str, Any] | Failure:
        """Returns a worker's reply to a task, or why there is none after so many seconds on the clock.

        A worker that dies `limit` seconds after it began has reached a limit that it set itself. Raises StartError.
        """
        line = json.dumps(task).encode() + b"\n"
        with self._free:
            reply: dict[str, Any] | Failure = "worker_died"
            for _ in range(attempts):
                reply = self._attempt(line, limit, clock_limit)
                if reply != "worker_died":
                    break
        return reply

    def warm_up(self) -> None:
        """Wait for the first worker, so that nothing graded afterwards does. Raises TimeoutError or RuntimeError."""
        with self._free:
            self._release(self._take())

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
        self.template.end()

    def _attempt(self, line: bytes, limit: float, clock_limit: float) -> dict[str, Any] | Failure:
        try:
            worker = self._take()
        except TimeoutError:
            return "timeout"
        started = time.monotonic()
        try:
            reply = worker.ask(line, started + clock_limit)
        except TimeoutError:
            self._discard(worker)
            return "timeout"
        if reply is None:
            self._discard(worker)
            return "timeout" if time.monotonic() - started >= limit else "worker_died"
        self._release(worker)
        return reply

    def _take(self) -> Worker:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        worker = worker or self.template.fork(time.monotonic() + START_DEADLINE)
        with self._lock:
            self._busy.add(worker.pid)
        return worker

    def _release(self, worker: Worker) -> None:
        with self._lock:
            self._busy.discard(worker.pid)
            self._idle.append(worker)

    def _discard(self, worker: Worker) -> None:
        worker.kill()
        with self._lock:
            self._busy.discard(worker.pid)


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
