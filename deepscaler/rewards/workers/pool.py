"""Worker processes for comparisons that may hang, eat memory or crash: each is killed and replaced alone.

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
from typing import Literal

from deepscaler.rewards.workers.template import Template, Worker

Outcome = Literal["equal", "different", "timeout", "worker_died"]

ATTEMPTS = 3
"""A task whose worker died under it is tried again in a fresh worker: the killer may have meant another."""

SLACK = 1.2
"""Seconds on the clock beyond the limit, which is processor time: a busy machine must not turn a score to 0."""

START_DEADLINE = 120.0
"""Seconds for a worker to come up; the first imports the mathematics: two or three, many more on a busy machine."""


@dataclass
class WorkerPool:
    """Workers are made when all others are busy, up to `size`; then callers wait for one."""

    size: int
    counts: Counter[str] = field(default_factory=Counter)
    """Outcomes since the start: equal, different, timeout, worker_died."""

    def __post_init__(self) -> None:
        self._free = threading.Semaphore(self.size)
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._busy: set[int] = set()
        self._template = Template()

    def compare(self, mode: str, answer: str, gold: str, limit: float) -> Outcome:
        """Run one comparison for at most `limit` seconds of its own processor time, and SLACK more on the clock.

        Waiting for a worker (all are busy, or the first is starting) does not count: it says nothing of the answer.
        """
        task = json.dumps({"mode": mode, "answer": answer, "gold": gold, "limit": limit}).encode() + b"\n"
        with self._free:
            outcome: Outcome = "worker_died"
            for _ in range(ATTEMPTS):
                outcome = self._attempt(task, limit)
                if outcome != "worker_died":
                    break
        with self._lock:
            self.counts[outcome] += 1
        return outcome

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
        self._template.end()

    def _attempt(self, task: bytes, limit: float) -> Outcome:
        try:
            worker = self._take()
        except TimeoutError:
            return "timeout"
        started = time.monotonic()
        try:
            reply = worker.ask(task, started + limit + SLACK)
        except TimeoutError:
            self._discard(worker)
            return "timeout"
        if reply is None:
            self._discard(worker)
            return "timeout" if time.monotonic() - started >= limit else "worker_died"  # it ends itself at its limit
        self._release(worker)
        return "equal" if reply["equal"] else "different"

    def _take(self) -> Worker:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        worker = worker or self._template.fork(time.monotonic() + START_DEADLINE)
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
