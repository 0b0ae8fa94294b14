"""Serves the page to a browser on this machine if the texts are too many for one file. The server writes nothing.

GET /SECRET/                             the page, without texts
GET /SECRET/row?version=3&source=0&row=17    {"text": ..., "numbers": {...}, "answer": ..., "formulas": {...}}
GET /SECRET/search?version=3&source=0&text=modulo   [17, 20, ...]

Only this machine can connect. So can its other users, but the secret in the path keeps them out. A foreign page whose
host name was made to point here (DNS rebinding) is refused because of the Host header that its requests carry.
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
"""Most formulas of one response to show as mathematics."""

MAX_SEARCH = 500
"""Most characters of a search."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page itself carries the rest of its policy
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(slots=True)
class _State:
    """Holds the sources that were read, and the state of their files."""

    version: str
    stamp: list[tuple[str, int, int]]
    sources: list[Source]
    page: bytes


class Library:
    """Holds the sources that a server shows, and reads them again if their files have grown when a page is loaded."""

    def __init__(self, find: Callable[[], list[Found]]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._state: _State | None = None

    def load(self) -> _State:
        """Returns the current state of the files."""
        with self._lock:
            found = self._find()
            stamp = [_stamp(path) for one in found for path in one.files]
            if self._state is None or self._state.stamp != stamp:
                sources, version = read_sources(found), secrets.token_hex(4)
                page = served_page(sources, version).encode()
                self._state = _State(version, stamp, sources, page)
            return self._state

    def loaded(self, version: str) -> list[Source] | None:
        """Returns the sources of a version; None if a page with newer files has been loaded since."""
        # Without the lock, so that reading one response does not wait for a load: a new state replaces the old
        # one as a whole.
        state = self._state
        return state.sources if state and state.version == version else None


class PageServer(ThreadingHTTPServer):
    """Listens on the loopback address only."""

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
        """Returns the URL to open in a browser."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.secret}/"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "deepscaler", ""

    def do_GET(self) -> None:
        """Sends the page, one response, or the rows that hold a text."""
        if re.sub(r":\d+$", "", self.headers.get("Host", "")) not in LOCAL_NAMES:
            return self._refuse(HTTPStatus.FORBIDDEN, "open the address that the command printed")
        parts = urlsplit(self.path)
        prefix = f"/{self.server.secret}/"
        # in constant time, so nobody can guess the secret character by character
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
        try:
            # urllib raises ValueError if there are more fields than that
            asked = {key: values[0] for key, values in parse_qs(parts.query, max_num_fields=9).items()}
        except ValueError:
            return self._refuse(HTTPStatus.BAD_REQUEST, "there is no such response")
        sources = self.server.library.loaded(asked.get("version", ""))
        if sources is None:
            return self._refuse(HTTPStatus.CONFLICT, "the files have changed: reload the page")
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
        """Logs nothing, so the terminal keeps showing the address."""


def search(source: Source, text: str) -> list[int]:
    """Returns the rows whose response holds a text, ignoring case."""
    wanted = text.lower()
    return [number for number, one in enumerate(source.all_details()) if wanted in one["text"].lower()]


def _index(text: str) -> int:
    # int() alone would also accept -1, which indexes from the end, 1_0, and digits of other scripts
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ValueError(text)
    return int(text)


def _stamp(path: Any) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns
