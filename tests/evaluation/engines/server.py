"""A server of OpenAI's chat API on loopback whose every answer a test chooses, broken ones too."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behavior = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """Answers the n-th request by the n-th behavior, and by the last one from then on."""

    behaviors: list[Behavior]
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(*behaviors: Behavior) -> Iterator[Server]:
    server = Server(list(behaviors))
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                server.asked.append({"path": self.path, **self.asked})
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                behavior = server.behaviors[min(len(server.asked), len(server.behaviors)) - 1]
            self.close_connection = True
            with suppress(BrokenPipeError, ConnectionResetError):
                behavior(self)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    with Quiet(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}/v1"
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield server
        http.shutdown()


def event(**choice: Any) -> bytes:
    return b"data: " + json.dumps({"model": "m-2", "choices": [choice]}).encode() + b"\n\n"


def usage(**counts: int) -> bytes:
    return b"data: " + json.dumps({"choices": [], "usage": counts}).encode() + b"\n\n"


def stream(*events: bytes, end: bytes = b"data: [DONE]\n\n", **headers: str) -> Behavior:
    """Returns the behavior that sends these events as a stream."""
    body = b"".join(events) + end

    def answer(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, 200, {"Content-Type": "text/event-stream", "Content-Length": str(len(body)), **headers})
        handler.wfile.write(body)

    return answer


def text(content: str, finish: str = "stop", **headers: str) -> Behavior:
    """Returns the behavior of a server that is well."""
    parts = [event(delta={"content": content}), event(delta={}, finish_reason=finish)]
    return stream(*parts, usage(prompt_tokens=7, completion_tokens=3, total_tokens=10), **headers)


def status(code: int, body: bytes = b"", **headers: str) -> Behavior:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, code, {"Content-Length": str(len(body)), **headers})
        handler.wfile.write(body)

    return answer


def half(handler: BaseHTTPRequestHandler) -> None:
    """Promises more than it sends."""
    _head(handler, 200, {"Content-Type": "text/event-stream", "Content-Length": "5000"})
    handler.wfile.write(event(delta={"content": "half"}))


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Sends a line that never ends."""
    _head(handler, 200, {"Content-Type": "text/event-stream"})
    while True:
        handler.wfile.write(b"x" * (1 << 20))


def endless_refusal(handler: BaseHTTPRequestHandler) -> None:
    _head(handler, 500, {"Content-Type": "text/plain"})
    while True:
        handler.wfile.write(b"x" * (1 << 20))


def hanging(started: bool, *, drip: bytes = b"") -> Behavior:
    """Returns the behavior that never answers: is mute, stops in the middle, or only keeps the line warm."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if started:
            _head(handler, 200, {"Content-Type": "text/event-stream"})
            handler.wfile.write(event(delta={"content": "and then"}))
        while not threading.Event().wait(0.1):
            if drip:
                handler.wfile.write(drip)

    return answer


def _head(handler: BaseHTTPRequestHandler, code: int, headers: dict[str, str]) -> None:
    handler.send_response(code)
    for name, value in {**headers, "Connection": "close"}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
