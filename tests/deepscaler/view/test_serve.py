"""The server gives this machine's browser what it asks for, and nobody else anything."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from deepscaler.system.errors import UserError
from deepscaler.view.serve import Library, PageServer
from deepscaler.view.sources import find_sources
from tests.deepscaler.view.folders import SAMPLES, finished, hostile, sample


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    finished(tmp_path / "run")
    with serving(tmp_path / "run") as server:
        yield server


def serving(folder: Path) -> "Serving":
    return Serving(PageServer(Library(lambda: find_sources([folder])), 0))


class Serving:
    """A server in a thread, for as long as a `with` lasts."""

    def __init__(self, server: PageServer) -> None:
        self.server = server
        self.thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> PageServer:
        self.thread.start()
        return self.server

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def get(server: PageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    port = int(server.server_address[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, path, headers={"Host": f"127.0.0.1:{port}", **headers})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, {name.lower(): value for name, value in answer.getheaders()}


def root(server: PageServer) -> str:
    return urlsplit(server.address).path


def version(server: PageServer) -> str:
    page = get(server, root(server))[1].decode()
    data = page.partition('id="data">')[2].partition("</script>")[0]
    return str(json.loads(data)["version"])


def asking(server: PageServer, name: str, **parameters: object) -> tuple[int, bytes]:
    return get(server, f"{root(server)}{name}?{urlencode(parameters)}")[:2]


def test_the_page_comes_without_texts_and_a_response_when_it_is_opened(server: PageServer) -> None:
    page = get(server, root(server))[1].decode()
    assert "Half a dozen" not in page
    status, body = asking(server, "row", version=version(server), source=0, row=1)
    assert status == 200
    found = json.loads(body)
    assert found["text"] == SAMPLES[1]["text"]
    assert {r"\frac{6}{2}", "3", r"\boxed{6}"} <= set(found["formulas"])


def test_a_search_finds_rows_whatever_the_case(server: PageServer) -> None:
    assert asking(server, "search", version=version(server), source=0, text="HALF A")[1] == b"[1]"
    assert asking(server, "search", version=version(server), source=0, text="</think>")[1] == b"[0,1,2,4,5]"


@pytest.mark.parametrize("name", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example:80", "[::2]"])
def test_a_page_of_another_host_gets_nothing(server: PageServer, name: str) -> None:
    status, body, _ = get(server, root(server), Host=name)
    assert status == 403
    assert b"script" not in body


def test_a_tunnel_from_another_port_works(server: PageServer) -> None:
    assert get(server, root(server), Host="localhost:9999")[0] == 200


@pytest.mark.parametrize("path", ["/", "/row", "/wrong/", "/wrong/row?source=0", "//", "/%2e%2e/etc/passwd"])
def test_without_the_secret_there_is_nothing(server: PageServer, path: str) -> None:
    status, body, _ = get(server, path)
    assert status == 404
    assert server.secret.encode() not in body


@pytest.mark.parametrize(
    "query",
    [
        "row?source=0",
        "row?source=9&row=0",
        "row?source=0&row=6",
        "row?source=0&row=-1",
        "row?source=0&row=1e1",
        "row?source=0&row=%C2%B2",
        "search?source=0",
        "search?" + "source=0&" * 9 + "text=a",
        "../view.html",
        "samples/aime.jsonl",
    ],
)
def test_what_is_not_there_is_refused(server: PageServer, query: str) -> None:
    joint = "&" if "?" in query else "?"
    status, body, _ = get(server, f"{root(server)}{query}{joint}version={version(server)}")
    assert status in (400, 404)
    assert b"Traceback" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_only_reads(server: PageServer, method: str) -> None:
    assert get(server, root(server), method)[0] == 501


def test_every_answer_says_what_a_browser_must_not_do(server: PageServer) -> None:
    for path in (root(server), "/", f"{root(server)}row?version={version(server)}&source=0&row=0"):
        headers = get(server, path)[2]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert headers["referrer-policy"] == "no-referrer"


def test_only_this_machine_can_connect(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_a_page_of_older_files_is_told_to_load_again(server: PageServer, tmp_path: Path) -> None:
    old = version(server)
    with (tmp_path / "run/samples/aime.jsonl").open("a") as file:
        file.write(json.dumps(sample("aime/3", 2, "a new one")) + "\n")
    assert version(server) != old
    status, body = asking(server, "row", version=old, source=0, row=0)
    assert (status, body) == (409, b"the files have changed: reload the page\n")
    assert json.loads(asking(server, "row", version=version(server), source=0, row=6)[1])["text"] == "a new one"


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UserError, match="give another: --serve PORT"),
    ):
        PageServer(Library(lambda: []), taken.getsockname()[1])


def test_hostile_responses_are_served(tmp_path: Path) -> None:
    hostile(tmp_path)
    with serving(tmp_path) as server:
        number = version(server)
        for row in range(13):
            status, body = asking(server, "row", version=number, source=0, row=row)
            assert status == 200
            assert json.loads(body)["text"]
