"""This process's side of a template that forks workers, and of the workers.

Their own side is `worker` for comparisons of the grader, `function_worker` for a reward function of the user's.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepscaler.system.processes import python_command

END_DEADLINE = 5.0
"""Seconds for the template to end by itself."""

ATTEMPTS = 3
"""Templates tried before grading is given up: one may have been killed, three that die do not work here."""

MAX_MESSAGE = 1 << 20
"""Bytes of a worker's reply; one that says more is treated as dead, because its other side may be a user's code."""


class StartError(RuntimeError):
    """No worker can be had: the template dies, or says why it forks none."""


@dataclass
class Worker:
    """One process and the socket to it."""

    connection: socket.socket
    pid: int = 0
    _buffer: bytes = b""

    def ask(self, task: bytes, deadline: float) -> dict[str, object] | None:
        """Send a task and return the reply; None if the worker died. Raises TimeoutError at the deadline."""
        if self._buffer:  # it has spoken unasked: the reply would be another task's
            return None
        try:
            self.connection.settimeout(max(0.001, deadline - time.monotonic()))
            self.connection.sendall(task)
        except TimeoutError:
            raise
        except OSError:
            return None
        return self.read(deadline)

    def read(self, deadline: float) -> dict[str, object] | None:
        """The next message; None if the worker died or wrote none. Raises TimeoutError at the deadline."""
        while b"\n" not in self._buffer:
            self.connection.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                received = self.connection.recv(65536)
            except ConnectionError:
                return None
            if not received:
                return None
            self._buffer += received
            if len(self._buffer) > MAX_MESSAGE:
                return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return message if isinstance(message, dict) else None

    def kill(self) -> None:
        """End it at once, whatever it computes."""
        self.connection.close()
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Template:
    """The process that has imported what its workers run, started when the first worker is wanted.

    `arguments` are those of `python -P`. With a `log`, the template and its workers write there; else where this
    process writes.
    """

    def __init__(self, arguments: Sequence[str], log: Path | None = None) -> None:
        self._arguments, self._log = tuple(arguments), log
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def fork(self, deadline: float) -> Worker:
        """Returns a new worker.

        Raises TimeoutError at the deadline, while the template goes on starting for the next; StartError if none of
        several templates lives to fork one, or if one says why it cannot.
        """
        for _ in range(ATTEMPTS):
            process, worker = self._request()
            try:
                hello = worker.read(deadline)
            except TimeoutError:
                worker.kill()
                raise
            if hello is not None and type(hello.get("pid")) is int:
                worker.pid = int(str(hello["pid"]))
                return worker
            worker.kill()
            if hello is not None:
                raise StartError(str(hello.get("error")))
            self.end(only=process)
        raise StartError(f"worker processes do not start: `python {' '.join(self._arguments)}` says why")

    def end(self, only: subprocess.Popen[bytes] | None = None) -> None:
        """Close its socket, at which it ends; killed if it does not. With `only`, unless another has replaced it."""
        with self._lock:
            process, connection = self._process, self._connection
            if process is None or connection is None or (only is not None and process is not only):
                return
            self._process = self._connection = None
        connection.close()
        try:
            process.wait(END_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _request(self) -> tuple[subprocess.Popen[bytes], Worker]:
        """Send the template one end of a new connection; the other is a worker as soon as it says hello."""
        with self._lock:
            if self._process is None or self._connection is None:
                self._connection, theirs = socket.socketpair()
                command = python_command(*self._arguments)
                with theirs, contextlib.ExitStack() as opened:
                    output = opened.enter_context(self._log.open("ab")) if self._log else None
                    self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=output, stderr=output)
            ours, theirs = socket.socketpair()
            with theirs, contextlib.suppress(OSError):  # a dead template shows when nobody says hello
                socket.send_fds(self._connection, [b"+"], [theirs.fileno()])
            return self._process, Worker(ours)
