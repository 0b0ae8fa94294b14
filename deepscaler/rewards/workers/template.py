"""This process's side of the template that forks workers, and of the workers (their own side is `worker`)."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass

from deepscaler.system.processes import python_command

END_DEADLINE = 5.0
"""Seconds for the template to end by itself."""

ATTEMPTS = 3
"""Templates tried before grading is given up: one may have been killed, three that die do not work here."""


@dataclass
class Worker:
    """One process and the socket to it."""

    connection: socket.socket
    pid: int = 0
    _buffer: bytes = b""

    def ask(self, task: bytes, deadline: float) -> dict[str, object] | None:
        """Send a task and return the reply; None if the worker died. Raises TimeoutError at the deadline."""
        try:
            self.connection.settimeout(max(0.001, deadline - time.monotonic()))
            self.connection.sendall(task)
        except TimeoutError:
            raise
        except OSError:
            return None
        return self.read(deadline)

    def read(self, deadline: float) -> dict[str, object] | None:
        """The next message; None if the worker died. Raises TimeoutError at the deadline."""
        while b"\n" not in self._buffer:
            self.connection.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                received = self.connection.recv(65536)
            except ConnectionError:
                return None
            if not received:
                return None
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, object] = json.loads(line)
        return message

    def kill(self) -> None:
        """End it at once, whatever it computes."""
        self.connection.close()
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Template:
    """The process that has imported the mathematics, started when the first worker is wanted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def fork(self, deadline: float) -> Worker:
        """A new worker. Raises TimeoutError at the deadline, while the template goes on starting for the next."""
        for _ in range(ATTEMPTS):
            process, worker = self._request()
            try:
                hello = worker.read(deadline)
            except TimeoutError:
                worker.kill()
                raise
            if hello is not None:
                worker.pid = int(str(hello["pid"]))
                return worker
            worker.kill()
            self.end(only=process)
        raise RuntimeError(
            "the grader's worker processes do not start: `python -m deepscaler.rewards.workers.worker` says why"
        )

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
                command = python_command("-m", "deepscaler.rewards.workers.worker")
                with theirs:
                    self._process = subprocess.Popen(command, stdin=theirs.fileno())
            ours, theirs = socket.socketpair()
            with theirs, contextlib.suppress(OSError):  # a dead template shows when nobody says hello
                socket.send_fds(self._connection, [b"+"], [theirs.fileno()])
            return self._process, Worker(ours)
