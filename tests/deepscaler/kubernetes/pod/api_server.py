"""An API server that knows RayJobs alone, with an operator that brings each through its states, one at a look."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import urlsplit

PREFIX = "/apis/ray.io/v1/namespaces/deepscaler/rayjobs"
STATES: list[dict[str, Any]] = [
    {},
    {"jobDeploymentStatus": "Initializing"},
    {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"},
]
SUCCEEDED = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
FAILED = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed", "message": "exit code 1"}
LOST_HEAD = {"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING", "reason": "JobStatusCheckTimeoutExceeded"}

Event = tuple[str, str, str, str]
"""`before` or `after`, method, name, state."""


class ApiServer(ThreadingHTTPServer):
    """Keeps RayJobs in memory. `at` is called around each request, and may raise ConnectionError to lose it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.rayjobs: dict[str, dict[str, Any]] = {}
        self.created: list[str] = []
        self.ends: dict[str, dict[str, Any]] = {}
        """How a job ends, by name; SUCCEEDED by default."""
        self.finish: Callable[[str], None] = lambda _: None
        """Does what a job that succeeds does."""
        self.at: Callable[[Event], None] = lambda _: None
        self.answers: list[tuple[int, dict[str, Any]]] = []
        """Given instead of the next ones."""
        self.tokens: list[str] = []
        self.lock = Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "ApiServer":
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def add(self, manifest: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = manifest["metadata"]["name"]
        if name in self.rayjobs:
            return 409, {"message": f'rayjobs.ray.io "{name}" already exists'}
        self.rayjobs[name] = {**manifest, "status": {}}
        self.created.append(name)
        return 201, self.rayjobs[name]

    def find(self, name: str) -> tuple[int, dict[str, Any]]:
        if name not in self.rayjobs:
            return 404, {"message": f'rayjobs.ray.io "{name}" not found'}
        return 200, json.loads(json.dumps(self.rayjobs[name]))

    def remove(self, name: str) -> tuple[int, dict[str, Any]]:
        return (200, {"status": "Success"}) if self.rayjobs.pop(name, None) else (404, {"message": "not found"})

    def go_on(self, name: str) -> None:
        """One step of the operator with a job."""
        rayjob = self.rayjobs.get(name)
        if rayjob is None or "deletionTimestamp" in rayjob["metadata"]:
            return
        end = self.ends.get(name, SUCCEEDED)
        following = [*STATES, end, end]
        if rayjob["status"] not in (SUCCEEDED, FAILED, LOST_HEAD):
            rayjob["status"] = following[following.index(rayjob["status"]) + 1]
            if rayjob["status"] == SUCCEEDED:
                self.finish(name)


class Answer(BaseHTTPRequestHandler):
    server: ApiServer

    def _answer(self, do: Callable[[str], tuple[int, dict[str, Any]]], name: str) -> None:
        server = self.server
        with server.lock:
            state = server.rayjobs.get(name, {}).get("status", {}).get("jobDeploymentStatus", "new")
            state = state if name in server.rayjobs else "absent"
            server.tokens.append(self.headers["Authorization"] or "")
            try:
                server.at(("before", self.command, name, state))
                code, body = server.answers.pop(0) if server.answers else do(name)
                if self.command == "GET":
                    server.go_on(name)
                server.at(("after", self.command, name, state))
            except ConnectionError:
                self.close_connection = True
                return
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def _name(self) -> str:
        path = urlsplit(self.path).path
        assert path.startswith(PREFIX), path
        return path.removeprefix(PREFIX).strip("/")

    def do_GET(self) -> None:
        self._answer(self.server.find, self._name())

    def do_POST(self) -> None:
        manifest = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(lambda _: self.server.add(manifest), manifest["metadata"]["name"])

    def do_DELETE(self) -> None:
        self._answer(self.server.remove, self._name())

    def log_message(self, *_: object) -> None:
        """Nothing."""
