"""Implements this process's side of a template that forks workers, and of the workers.

Their own side is `worker` for the grader's comparisons, and `function_worker` for a user's reward function.
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
"""Seconds that the template has to end by itself."""

ATTEMPTS = 3
"""Templates to try before giving up. One may have been killed, but if three die, templates do not work here."""

MAX_MESSAGE = 1 << 20
"""Most bytes of a worker's reply. A worker that sends more counts as dead, because it may run a user's code."""


class StartError(RuntimeError):
    """Signals that no worker can be started: the template dies, or reports why it cannot fork one."""


@dataclass
class Worker:
    """Holds one process and the socket to it."""

    connection: socket.socket
    pid: int = 0
    _buffer: bytes = b""

    def ask(self, task: bytes, deadline: float) -> dict[str, object] | None:
        """Sends a task and returns the reply; None if the worker died. Raises TimeoutError at the deadline."""
        if self._buffer:  # unrequested data, which would be taken for the reply to this task
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
        """Returns the next message; None if the worker died or sent none. Raises TimeoutError at the deadline."""
        while b"\n" not in self._buffer:
            # Never 0, which would make the socket non-blocking, nor less, which raises ValueError.
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
        """Ends the worker at once, whatever it is computing."""
        self.connection.close()
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Template:
    """Controls the process that has imported the workers' code; it starts when the first worker is requested.

    `arguments` are those of `python -P`. The template and its workers write to `log`, or without one to this process's
    output.
    """

    def __init__(self, arguments: Sequence[str], log: Path | None = None) -> None:
        self._arguments, self._log = tuple(arguments), log
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def fork(self, deadline: float) -> Worker:
        """Returns a new worker.

        Raises TimeoutError at the deadline, while the template continues to start for the next caller. Raises
        StartError if several templates die before they fork one, or if one reports why it cannot.
        """
        for _ in range(ATTEMPTS):
            process, worker = self._request()
            try:
                hello = worker.read(deadline)
            except TimeoutError:
                # The template may still fork for this socket, and a closed one ends that worker with its first word.
                worker.kill()
                raise
            if hello is not None and type(hello.get("pid")) is int:
                worker.pid = int(str(hello["pid"]))
                return worker
            worker.kill()
            if hello is not None:
                raise StartError(str(hello.get("error")))
            self.end(only=process)
        raise StartError(f"worker processes do not start: run `python {' '.join(self._arguments)}` to see why")

    def end(self, only: subprocess.Popen[bytes] | None = None) -> None:
        """Ends the template by closing its socket, and kills it if necessary. With `only`, spares a newer template."""
        with self._lock:
            process, connection = self._process, self._connection
            # Several threads may notice a dead template: one replaces it, and the others must not end the new one.
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
        """Sends the template one end of a new connection; the other end is a worker once it sends its hello."""
        with self._lock:
            if self._process is None or self._connection is None:
                # A socket as standard input, because a pipe cannot carry the descriptors of further sockets.
                self._connection, theirs = socket.socketpair()
                command = python_command(*self._arguments)
                with theirs, contextlib.ExitStack() as opened:
                    output = opened.enter_context(self._log.open("ab")) if self._log else None
                    self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=output, stderr=output)
            ours, theirs = socket.socketpair()
            with theirs, contextlib.suppress(OSError):  # a dead template is noticed when no hello arrives
                socket.send_fds(self._connection, [b"+"], [theirs.fileno()])
            return self._process, Worker(ours)
