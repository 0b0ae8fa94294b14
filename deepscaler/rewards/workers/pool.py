"""Runs work that may hang, exhaust memory or crash in worker processes, each of which is killed and replaced alone.

The caller waits for a reply on a socket with a time-out, which works in any thread and in asyncio, unlike SIGALRM.

pebble and multiprocessing would not do. They either fork a process that has threads, or start a new interpreter that
imports the caller's `__main__` again: grading from a script without a main guard would start that script again, and
verl's trainer is such a script. A template process that forks on request avoids both.
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
"""Workers to try for a task. A worker that died may have been killed because of another task."""

SLACK = 1.2
"""Seconds on the clock beyond the limit, which is processor time. With a limit on the clock alone, a busy machine would
turn right answers into wrong ones."""

START_DEADLINE = 120.0
"""Seconds that a worker has to start. The first one imports sympy, which takes two or three, or many on a busy machine.
"""

COMPARISONS = ("-m", "deepscaler.rewards.workers.worker")


@dataclass
class WorkerPool:
    """Starts a worker when all others are busy, up to `size`; beyond that callers wait for one."""

    size: int
    template: Template = field(default_factory=lambda: Template(COMPARISONS))
    """Process that forks the workers."""
    counts: Counter[str] = field(default_factory=Counter)
    """Number of each outcome since the start: equal, different, timeout, worker_died."""

    def __post_init__(self) -> None:
        self._free = threading.Semaphore(self.size)
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._busy: set[int] = set()

    def compare(self, mode: str, answer: str, gold: str, limit: float) -> Outcome:
        """Runs one comparison for at most `limit` seconds of its own processor time, and SLACK more on the clock.

        Waiting for a worker (all are busy, or the first is starting) does not count, as it has nothing to do with the
        answer.
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
        """Returns a worker's reply to a task, or the reason for none after `clock_limit` seconds on the clock.

        A worker that dies `limit` seconds after it began has reached a limit that it set itself, so this counts as a
        time-out. Raises StartError if no worker can be started.
        """
        # Before a worker is taken: a task that JSON cannot carry must not cost one.
        line = json.dumps(task).encode() + b"\n"
        with self._free:
            reply: dict[str, Any] | Failure = "worker_died"
            for _ in range(attempts):
                reply = self._attempt(line, limit, clock_limit)
                if reply != "worker_died":
                    break
        return reply

    def warm_up(self) -> None:
        """Waits for the first worker, so later tasks need not. Raises TimeoutError or StartError."""
        with self._free:
            self._release(self._take())

    def pids(self) -> list[int]:
        """Returns the pids of the living worker processes, for tests and monitoring."""
        with self._lock:
            return [worker.pid for worker in self._idle] + sorted(self._busy)

    def close(self) -> None:
        """Ends all workers and the template."""
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
            # SIGPROF ends a worker at its limit of processor time, which takes at least as long on the clock.
            return "timeout" if time.monotonic() - started >= limit else "worker_died"
        self._release(worker)
        return reply

    def _take(self) -> Worker:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        # outside the lock, because a fork may take as long as the template's imports
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
    """Returns this process's pool: one worker per core, at least eight, unless $DEEPSCALER_GRADER_WORKERS is set."""
    with _pools_lock:
        if os.getpid() not in _pools:  # a fork must not use its parent's sockets
            # At least eight: workers that hang until their limit must not hold the only places.
            size = int(os.environ.get("DEEPSCALER_GRADER_WORKERS", "0")) or max(8, os.cpu_count() or 1)
            _pools[os.getpid()] = WorkerPool(size)
        return _pools[os.getpid()]


@atexit.register
def _close_pools() -> None:
    if pool := _pools.get(os.getpid()):
        pool.close()
