"""Sets of the hub, from a server on this machine that speaks its protocol: pinned, cached, read offline later."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from deepscaler.data.hub import _by_name, _choose, _declared
from deepscaler.data.names import label, parse_hub
from deepscaler.data.table import problems_of
from deepscaler.system.errors import UserError
from deepscaler.system.processes import deepscaler_command

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: parts/a-*.jsonl
  - split: test
    path: parts/b.jsonl
---
Sums.
"""
FILES = {
    "README.md": CARD.encode(),
    "parts/a-1.jsonl": b'{"question": "1+1?", "answer": "so #### 2"}\n',
    "parts/a-2.jsonl": b'{"question": "1+2?", "answer": "so #### 3"}\n',
    "parts/b.jsonl": b'{"question": "2+2?", "answer": "so #### 4"}\n',
}


class Hub(BaseHTTPRequestHandler):
    """Answers for one data set, org/sums."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/datasets/org/sums"):
            siblings = [{"rfilename": name} for name in FILES]
            info = {"id": "org/sums", "sha": COMMIT, "siblings": siblings, "private": False, "downloads": 0, "tags": []}
            body, kind = json.dumps(info).encode(), "application/json"
        else:
            name = path.removeprefix(f"/datasets/org/sums/resolve/{COMMIT}/")
            if name not in FILES:
                self.send_error(404)
                return
            body, kind = FILES[name], "application/octet-stream"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def deepscaler(
    tmp_path: Path, endpoint: str, *arguments: str, offline: bool = False
) -> "subprocess.CompletedProcess[str]":
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": str(int(offline))}
    settings |= {"DEEPSCALER_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": ""}
    command = deepscaler_command(arguments)
    return subprocess.run(
        command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=200, check=False
    )


def test_a_set_of_the_hub_is_pinned_to_a_commit_and_usable_offline_later(tmp_path: Path, endpoint: str) -> None:
    name = "hub:org/sums@main:train"
    done = deepscaler(tmp_path, endpoint, "data", "prepare", name, "--name", "theirs")
    assert done.returncode == 0, done.stderr
    entry = json.loads((tmp_path / "cache/data/manifest.json").read_text())["theirs"]
    assert (entry["rows"], entry["revision"], entry["given"]) == (2, COMMIT, name)
    assert entry["source"] == f"hub:org/sums@{COMMIT}:train"
    assert [problem.golds for problem in problems_of(tmp_path / "cache/data/theirs.parquet")] == [("2",), ("3",)]

    nowhere = "http://127.0.0.1:9"
    pinned = f"hub:org/sums@{COMMIT}:test"
    gone = deepscaler(tmp_path, nowhere, "data", "prepare", pinned, offline=True)
    assert gone.returncode == 2, "its file was never fetched"
    assert deepscaler(tmp_path, endpoint, "data", "prepare", pinned).returncode == 0
    done = deepscaler(tmp_path, nowhere, "data", "prepare", pinned, "--name", "again", offline=True)
    assert done.returncode == 0, done.stderr


ROW = """
from pathlib import Path
from deepscaler.data.prepare import prepare
from deepscaler.data.sources import SOURCES, Source
SOURCES["theirs"] = Source(
    name="theirs", about="", split="test", num_rows=1, file="theirs.jsonl", problem="question",
    url="hub:org/sums@{commit}:test", revision="{commit}",
)
prepare("theirs", Path("{folder}"))
"""


def test_a_set_of_the_table_may_be_a_split_whose_files_the_hub_lists(tmp_path: Path, endpoint: str) -> None:
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    settings |= {"DEEPSCALER_CACHE": str(tmp_path / "cache"), "HF_TOKEN": "", "HF_HUB_OFFLINE": "0"}
    script = ROW.format(commit=COMMIT, folder=tmp_path / "data")
    subprocess.run([sys.executable, "-c", script], env={**os.environ, **settings}, check=True, timeout=200)
    entry = json.loads((tmp_path / "data/manifest.json").read_text())["theirs"]
    assert (entry["rows"], entry["revision"]) == (1, COMMIT)
    (problem,) = problems_of(tmp_path / "data/theirs.parquet")
    assert problem.question.startswith("2+2? ")


def test_what_the_hub_does_not_have_is_one_line(tmp_path: Path, endpoint: str) -> None:
    for name, says in (("hub:org/sums@main:dev", "has no split 'dev'"), ("hub:org/none", "cannot fetch hub:org/none")):
        done = deepscaler(tmp_path, endpoint, "data", "prepare", name)
        assert done.returncode == 2
        assert says in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "cache/data/manifest.json").exists()


@pytest.mark.parametrize("name", ["hub:", "hub:x", "hub:a/b@", "hub:a/../b", "hub:a/b:c d", "hub:a/b/c/d"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="expected hub:ORG/NAME@REVISION:SPLIT"):
        parse_hub(name)


def test_the_parts_of_a_name_are_told_apart() -> None:
    assert parse_hub("hub:openai/gsm8k/main@refs/pr/1:train") == ("openai/gsm8k", "main", "refs/pr/1", "train")
    assert parse_hub("hub:a/b.c") == ("a/b.c", "", "main", "")
    assert label("hub:openai/gsm8k/main@v1:test") == "openai-gsm8k-main-test"


def test_splits_are_told_by_the_names_of_files_where_the_card_says_nothing() -> None:
    listed = ["main/train-00000-of-00001.parquet", "main/test-00000-of-00001.parquet", "socratic/train.parquet", "a.py"]
    found = _by_name(listed)
    assert found["main"]["test"] == ["main/test-00000-of-00001.parquet"]
    assert _choose("hub:x/y", "main", "", listed, []) == ("train", ["main/train-00000-of-00001.parquet"])
    with pytest.raises(UserError, match="several configurations: give hub:ORG/NAME/CONFIG, main or socratic"):
        _choose("hub:x/y", "", "", listed, [])
    assert _by_name(["deepscaler.json"]) == {"default": {"train": ["deepscaler.json"]}}
    assert _declared({"data_files": "*.jsonl"}, ["a.jsonl", "b.csv"]) == {"train": ["a.jsonl"]}
    with pytest.raises(UserError, match="has no files in"):
        _choose("hub:x/y", "", "", ["data.csv"], [])
