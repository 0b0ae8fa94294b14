"""Serves the page to this machine's browser where the texts are too many for one file. It reads, and writes nothing.

GET /SECRET/                             the page, with everything but texts
GET /SECRET/row?version=3&source=0&row=17    {"text": ..., "numbers": {...}, "answer": ..., "formulas": {...}}
GET /SECRET/search?version=3&source=0&text=modulo   [17, 20, ...]

Only addresses of this machine can connect. Its other users can, too: the secret in the path keeps them out. A page of
another site whose name was made to point here (DNS rebinding) is refused by the name that it asks for.
"""

import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from deepscaler.system.errors import UserError
from deepscaler.view.page import details_with_formulas, served_page
from deepscaler.view.source import Source, as_json
from deepscaler.view.sources import Found, read_sources

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
MAX_FORMULAS = 3000
"""Formulas of one response that become mathematics."""

MAX_SEARCH = 500
"""Characters that can be searched for."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page itself states what it may do
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(slots=True)
class _State:
    """What was read, and from which files."""

    version: str
    stamp: list[tuple[str, int, int]]
    sources: list[Source]
    page: bytes


class Library:
    """The sources that a server shows, read again when a page is loaded and the files have grown."""

    def __init__(self, find: Callable[[], list[Found]]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._state: _State | None = None

    def load(self) -> _State:
        """Returns the state of the files now."""
        with self._lock:
            found = self._find()
            stamp = [_stamp(path) for one in found for path in one.files]
            if self._state is None or self._state.stamp != stamp:
                sources, version = read_sources(found), secrets.token_hex(4)
                page = served_page(sources, version).encode()
                self._state = _State(version, stamp, sources, page)
            return self._state

    def loaded(self, version: str) -> list[Source] | None:
        """Returns the sources of that version; None where a page of newer files was loaded since."""
        state = self._state
        return state.sources if state and state.version == version else None


class PageServer(ThreadingHTTPServer):
    """Listens on the loopback address alone."""

    daemon_threads = True

    def __init__(self, library: Library, port: int) -> None:
        self.library = library
        self.secret = secrets.token_urlsafe(12)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise UserError(f"cannot listen on port {port} ({error.strerror}); give another: --serve PORT") from error

    @property
    def address(self) -> str:
        """Returns what to open in a browser."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.secret}/"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "deepscaler", ""

    def do_GET(self) -> None:
        """Answers with the page, one response, or the rows that hold a text."""
        if re.sub(r":\d+$", "", self.headers.get("Host", "")) not in LOCAL_NAMES:
            return self._refuse(HTTPStatus.FORBIDDEN, "open the address that the command printed")
        parts = urlsplit(self.path)
        prefix = f"/{self.server.secret}/"
        if not secrets.compare_digest(parts.path[: len(prefix)].encode(), prefix.encode()):
            return self._refuse(HTTPStatus.NOT_FOUND, "open the address that the command printed")
        name = parts.path[len(prefix) :]
        if name == "":
            try:
                return self._send(self.server.library.load().page, "text/html; charset=utf-8")
            except (UserError, OSError) as error:
                return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        if name not in ("row", "search"):
            return self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        asked = {key: values[0] for key, values in parse_qs(parts.query, max_num_fields=9).items()}
        sources = self.server.library.loaded(asked.get("version", ""))
        if sources is None:
            return self._refuse(HTTPStatus.CONFLICT, "the files have changed: load the page again")
        try:
            source = sources[_index(asked["source"])]
            found: Any = (
                details_with_formulas(source, _index(asked["row"]), MAX_FORMULAS)
                if name == "row"
                else search(source, asked["text"][:MAX_SEARCH])
            )
        except (KeyError, ValueError, IndexError, OSError):
            return self._refuse(HTTPStatus.BAD_REQUEST, "there is no such response")
        return self._send(as_json(found).encode("ascii"), "application/json")

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._send(f"{why}\n".encode(), "text/plain; charset=utf-8", status)

    def log_message(self, *_: Any) -> None:
        """Says nothing: the terminal shows the address."""


def search(source: Source, text: str) -> list[int]:
    """Returns the rows whose response holds a text, whatever its case."""
    wanted = text.lower()
    return [number for number, one in enumerate(source.all_details()) if wanted in one["text"].lower()]


def _index(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ValueError(text)
    return int(text)


def _stamp(path: Any) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns
