"""A hub on the loopback that speaks the real one's protocol as far as huggingface_hub asks to publish and mirror.

Whoever holds TOKEN is `ana`, of the organization `lab`. What a test puts into `Hub` makes it refuse, stall or cut. The
dataset ORG/NAME is the repository `datasets/ORG/NAME`.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "x" * 34
LARGE = 20_000
"""Bytes from which a file goes by LFS."""


@dataclass
class Repo:
    """One repository: the files of each branch at its last commit."""

    private: bool = False
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {".gitattributes": b"*\n"}})
    commits: int = 0
    history: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """The files of each commit, by its hash."""


@dataclass
class Hub:
    """Holds the repositories of the server, and the ways in which it misbehaves."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """Large files that have arrived whole, by hash."""
    received: list[tuple[str, int]] = field(default_factory=list)
    """Hash and bytes of each upload that was begun."""
    refuse: dict[str, int] = field(default_factory=dict)
    """Status by part of a path, such as `/commit/`."""
    stall: str = ""
    """Part of a path whose requests never get an answer."""
    cut: dict[str, int] = field(default_factory=dict)
    """Times that an upload's connection is cut in its middle, by part of a path."""
    bytes_per_second: float = 0.0
    """Pace of an upload; 0 for any."""
    part: int = 0
    """Bytes of each part in which a large file is sent; 0 for one request."""
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    """Parts that have arrived, by hash and number."""
    pushed: dict[str, str] = field(default_factory=dict)
    """Path with which a large file was last committed, by hash; it stays when the path is removed."""
    conflicts: int = 0
    """Commits that are refused because of another one at the same moment."""
    ignored: str = ""
    """End of names that the repository's .gitignore leaves out of commits."""
    over: threading.Event = field(default_factory=threading.Event)

    def oid(self, repo: str) -> str:
        """Returns the commit of a repository's state."""
        return hashlib.sha1(f"{repo}/{self.repos[repo].commits}".encode()).hexdigest()


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serves until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.over.set()
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers questions about repositories, and gives files."""
        self._route("GET")

    def do_HEAD(self) -> None:
        """Answers for a file's size and hash."""
        self._route("HEAD")

    def do_POST(self) -> None:
        """Makes repositories, branches and commits."""
        self._route("POST")

    def do_PUT(self) -> None:
        """Takes a large file."""
        self._route("PUT")

    def log_message(self, *args: Any) -> None:
        """Says nothing."""

    def _route(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path).replace("/api/datasets/", "/api/models/datasets/")
        if self.hub.stall and self.hub.stall in path:
            self.hub.over.wait(600)
            self.close_connection = True
            return
        status = next((status for part, status in self.hub.refuse.items() if part in path), 0)
        if status:
            self._drain()
            self._answer({"error": "refused"}, status)
            return
        for pattern, verb, answer in ROUTES:
            if verb == method and (found := re.fullmatch(pattern, path)):
                with suppress(BrokenPipeError, ConnectionResetError):
                    answer(self, *found.groups())
                return
        self._drain()
        self._answer({"error": f"{method} {path}"}, 404)

    def _is_known(self) -> bool:
        return self.headers.get("authorization") == f"Bearer {TOKEN}"

    def _drain(self) -> bytes:
        """Returns the body of the request, whether its length is told or it comes in chunks."""
        if self.headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().strip() or b"0", 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _answer(self, value: Any, status: int = 200, **headers: str) -> None:
        body = json.dumps(value).encode()
        self._send(body, status, **{"Content-Type": "application/json", **headers})

    def _send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def whoami(self) -> None:
        """Tells whose the token is."""
        if not self._is_known():
            self._answer({"error": "Invalid credentials"}, 401)
            return
        self._answer({"type": "user", "name": "ana", "orgs": [{"name": "lab"}]})

    def create(self) -> None:
        """Makes a repository, or says that it is there."""
        asked = json.loads(self._drain())
        kind = "datasets/" if asked.get("type") == "dataset" else ""
        repo = f"{kind}{asked.get('organization') or 'ana'}/{asked['name']}"
        if not self._is_known():
            self._answer({"error": "You don't have the rights to create a repository there"}, 403)
            return
        known = repo in self.hub.repos
        if not known:
            self.hub.repos[repo] = Repo(private=asked.get("visibility") == "private")
        self._answer({"url": f"{self.hub.url}/{repo}", "name": repo, "id": repo}, 409 if known else 200)

    def validate(self) -> None:
        """Accepts a card's metadata."""
        self._drain()
        self._answer({"errors": [], "warnings": []})

    def info(self, repo: str, revision: str = "main") -> None:
        """Describes a repository."""
        if (files := self._files(repo, revision)) is None:
            return
        siblings = [{"rfilename": name} for name in files]
        known = self.hub.repos[repo]
        told = {"_id": "1", "id": repo, "modelId": repo, "sha": self.hub.oid(repo), "private": known.private}
        self._answer({**told, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    def tree(self, repo: str, revision: str, folder: str | None = None) -> None:
        """Lists what is below a folder of a branch, or in it alone."""
        if (files := self._files(repo, revision)) is None:
            return
        start = f"{folder}/" if folder else ""
        is_deep = "recursive=true" in self.path.lower()
        found: dict[str, dict[str, Any]] = {}
        for name, content in files.items():
            inner, _, below = name.removeprefix(start).partition("/")
            if not name.startswith(start):
                continue
            if below and not is_deep:
                found[start + inner] = {"type": "directory", "path": start + inner, "size": 0, "oid": "0" * 40}
                continue
            told = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            if len(content) > LARGE:
                oid = hashlib.sha256(content).hexdigest()
                told["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
            found[name] = told
        if folder and not found:
            self._answer({"error": f"{folder} does not exist"}, 404, X_Error_Code="EntryNotFound")
            return
        self._answer(list(found.values()))

    def large(self, repo: str) -> None:
        """Lists large files, those of earlier commits too."""
        if self._files(repo, "main") is None:
            return
        when = "2026-01-01T00:00:00.000Z"
        self._answer(
            [
                {"fileOid": oid, "oid": oid, "filename": self.hub.pushed[oid], "pushedAt": when, "size": len(content)}
                for oid, content in self.hub.objects.items()
                if oid in self.hub.pushed
            ]
        )

    def forget(self, repo: str) -> None:
        """Gives large files up for good, in every commit that has them."""
        oids = json.loads(self._drain())["deletions"]["sha"]
        for oid in oids:
            del self.hub.objects[oid]
        for files in self.hub.repos[repo].branches.values():
            for name, content in files.items():
                if hashlib.sha256(content).hexdigest() in oids:
                    files[name] = b"lost"
        self._answer({})

    def branch(self, repo: str, name: str) -> None:
        """Makes a branch of main."""
        self._drain()
        branches = self.hub.repos[repo].branches
        known = name in branches
        branches.setdefault(name, dict(branches["main"]))
        self._answer({}, 409 if known else 200)

    def preupload(self, repo: str, revision: str) -> None:
        """Says which files go by LFS."""
        asked = json.loads(self._drain())["files"]
        if self._files(repo, revision) is None:
            return
        modes = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["size"] > LARGE else "regular",
                "shouldIgnore": bool(self.hub.ignored) and one["path"].endswith(self.hub.ignored),
            }
            for one in asked
        ]
        self._answer({"files": modes})

    def batch(self, repo: str) -> None:
        """Says where large files go that have not arrived yet."""
        asked = json.loads(self._drain())["objects"]
        told = []
        for one in asked:
            where: dict[str, Any] = {"href": f"{self.hub.url}/lfs/{repo}/{one['oid']}"}
            if size := self.hub.part:
                numbers = range(1, -(-one["size"] // size) + 1)
                where["header"] = {str(number): f"{where['href']}/{number}" for number in numbers}
                where["header"]["chunk_size"] = str(size)
            arrived = one["oid"] in self.hub.objects
            told.append({**one, **({} if arrived else {"actions": {"upload": where}})})
        self._answer({"transfer": "basic", "objects": told})

    def take(self, repo: str, oid: str, number: str = "") -> None:
        """Takes a large file, which counts once it is whole, or a part of it."""
        size = int(self.headers.get("content-length") or 0)
        self.hub.received.append((oid, size))
        cut = next((part for part, times in self.hub.cut.items() if part in self.path and times > 0), None)
        if cut is not None:
            self.hub.cut[cut] -= 1  # at once, because files arrive beside each other
        content = b""
        while len(content) < size:
            part = self.rfile.read(min(1 << 16, size - len(content)))
            if not part:
                return
            content += part
            if cut is not None and len(content) > size // 2:
                self.close_connection = True
                self.connection.close()
                return
            if self.hub.bytes_per_second:
                time.sleep(len(part) / self.hub.bytes_per_second)
        if number:
            self.hub.parts[oid, int(number)] = content
            self._send(b"", ETag=f'"{number}"')
            return
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.objects[oid] = content
        self._send(b"")

    def complete(self, repo: str, oid: str) -> None:
        """Makes a large file of its parts."""
        told = [one["partNumber"] for one in json.loads(self._drain())["parts"]]
        content = b"".join(self.hub.parts.pop((oid, number)) for number in told)
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.objects[oid] = content
        self._answer({})

    def commit(self, repo: str, revision: str) -> None:
        """Puts the files of a commit in place, all at once."""
        lines = [json.loads(line) for line in self._drain().splitlines() if line]
        if (files := self._files(repo, revision)) is None:
            return
        if self.hub.conflicts:
            self.hub.conflicts -= 1
            self._answer({"error": "A commit has happened since. Please refresh and try again."}, 412)
            return
        changed = dict(files)
        for line in lines:
            value = line["value"]
            if line["key"] == "lfsFile" and value["oid"] not in self.hub.objects:
                self._answer({"error": f"{value['path']} points to a file that is not there"}, 400)
                return
            if line["key"] == "deletedFile" and value["path"] not in changed:
                self._answer({"error": "A file with this name doesn't exist"}, 404, X_Error_Code="EntryNotFound")
                return
            if line["key"] == "file":
                changed[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                changed[value["path"]] = self.hub.objects[value["oid"]]
                self.hub.pushed[value["oid"]] = value["path"]
            elif line["key"] == "deletedFile":
                del changed[value["path"]]
        self.hub.repos[repo].branches[revision] = changed
        self.hub.repos[repo].commits += 1
        oid = self.hub.oid(repo)
        self.hub.repos[repo].history[oid] = changed
        self._answer({"commitUrl": f"{self.hub.url}/{repo}/commit/{oid}", "commitOid": oid, "success": True})

    def resolve(self, repo: str, revision: str, name: str) -> None:
        """Gives a file."""
        if (files := self._files(repo, revision)) is None:
            return
        if name not in files:
            self._answer({"error": "no such file"}, 404, X_Error_Code="EntryNotFound")
            return
        content = files[name]
        told = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X_Repo_Commit": self.hub.oid(repo)}
        if found := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", "")):
            first, last = int(found[1]), min(int(found[2]), len(content) - 1)
            told["Content_Range"] = f"bytes {first}-{last}/{len(content)}"
            self._send(content[first : last + 1], 206, **told)
            return
        self._send(content, **told)

    def _files(self, repo: str, revision: str) -> dict[str, bytes] | None:
        """Returns the files of a branch or commit; answers and returns nothing where there are none to be seen."""
        known = self.hub.repos.get(repo)
        if known is None or (known.private and not self._is_known()):
            self._drain()
            self._answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            return None
        if revision in known.history:
            return known.history[revision]
        name = "main" if revision == self.hub.oid(repo) else revision
        if name not in known.branches:
            self._drain()
            self._answer({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
            return None
        return known.branches[name]


_REPO = r"((?:datasets/)?[\w.-]+/[\w.-]+)"
ROUTES: tuple[tuple[str, str, Any], ...] = (
    (r"/api/whoami-v2", "GET", Handler.whoami),
    (r"/api/repos/create", "POST", Handler.create),
    (r"/api/validate-yaml", "POST", Handler.validate),
    (rf"/api/models/{_REPO}", "GET", Handler.info),
    (rf"/api/models/{_REPO}/revision/([\w.-]+)", "GET", Handler.info),
    (rf"/api/models/{_REPO}/tree/([\w.-]+)(?:/(.+))?", "GET", Handler.tree),
    (rf"/api/models/{_REPO}/lfs-files", "GET", Handler.large),
    (rf"/api/models/{_REPO}/lfs-files/batch", "POST", Handler.forget),
    (rf"/api/models/{_REPO}/branch/([\w.-]+)", "POST", Handler.branch),
    (rf"/api/models/{_REPO}/preupload/([\w.-]+)", "POST", Handler.preupload),
    (rf"/{_REPO}\.git/info/lfs/objects/batch", "POST", Handler.batch),
    (rf"/lfs/{_REPO}/([0-9a-f]+)", "PUT", Handler.take),
    (rf"/lfs/{_REPO}/([0-9a-f]+)/(\d+)", "PUT", Handler.take),
    (rf"/lfs/{_REPO}/([0-9a-f]+)", "POST", Handler.complete),
    (rf"/api/models/{_REPO}/commit/([\w.-]+)", "POST", Handler.commit),
    (rf"/{_REPO}/resolve/([\w.-]+)/(.+)", "GET", Handler.resolve),
    (rf"/{_REPO}/resolve/([\w.-]+)/(.+)", "HEAD", Handler.resolve),
)
