"""A real S3 server on this machine, and a proxy before it that fails as networks and buckets do."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Fault = Literal["", "403", "503", "stall", "cut"]
"""Refuses, is overloaded, accepts and never answers, or loses the connection within a body."""

SECRET = "a-secret-that-must-never-be-seen"
CUT_AFTER = 300_000
"""Bytes of a connection."""

TEXTS = {"403": "Forbidden", "503": "Slow Down"}
CODES = {"403": "AccessDenied", "503": "SlowDown"}


@contextmanager
def s3_server() -> Iterator[int]:
    """Runs moto's S3 server; yields its port, which the kernel gives to the server itself."""
    command = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 240
            while not (found := re.search(rb"Running on http://127\.0\.0\.1:(\d+)", os.pread(log.fileno(), 4096, 0))):
                assert process.poll() is None, "the S3 server does not start"
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield int(found[1])
        finally:
            process.kill()
            process.wait()


class Proxy:
    """Passes connections on to a server, unless it has a fault."""

    def __init__(self, target: int) -> None:
        self.fault: Fault = ""
        self.num_connections = 0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """Closes every connection."""
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.num_connections += 1
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client, self.fault), daemon=True).start()

    def _serve(self, client: socket.socket, fault: Fault) -> None:
        with suppress(OSError):
            if fault == "stall":
                while client.recv(1 << 16):
                    pass
            elif fault in TEXTS:
                self._refuse(client, fault)
            else:
                self._pass_on(client, CUT_AFTER if fault == "cut" else 1 << 60)

    def _refuse(self, client: socket.socket, fault: Fault) -> None:
        while client.recv(1 << 16):
            body = f"<?xml version='1.0'?><Error><Code>{CODES[fault]}</Code><Message>{TEXTS[fault]}</Message></Error>"
            head = f"HTTP/1.1 {fault} {TEXTS[fault]}\r\nContent-Type: application/xml\r\nConnection: close\r\n"
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            client.shutdown(socket.SHUT_WR)

    def _pass_on(self, client: socket.socket, most: int) -> None:
        server = socket.create_connection(("127.0.0.1", self._target))
        self._open.append(server)
        left = [most]

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while left[0] > 0 and (data := source.recv(1 << 16)):
                    sink.sendall(data)
                    left[0] -= len(data)
            for one in (source, sink):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=pump, args=(server, client), daemon=True).start()
        pump(client, server)


def environment(port: int) -> dict[str, str]:
    """Variables by which s3fs finds the server and its credentials."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
