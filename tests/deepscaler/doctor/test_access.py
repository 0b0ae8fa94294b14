"""Tokens are tried on a server of our own; nothing of them is ever printed."""

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deepscaler.data.compose import Mixture, take_sources
from deepscaler.data.own import prepare_own
from deepscaler.doctor.access import BUCKET_KEYS, check_data, check_hub_token, check_keys, check_model, check_wandb_key
from deepscaler.doctor.finding import Finding
from deepscaler.doctor.subject import Subject
from deepscaler.recipes.load import load_recipe

GOOD, BAD = "hf_thegoodone", "hf_theexpiredone"


class Hub(BaseHTTPRequestHandler):
    """Knows one token, as the hub's whoami-v2 and as Weights & Biases' graphql."""

    def do_GET(self) -> None:
        if self.path.startswith("/api/datasets/"):
            known = self.path == "/api/datasets/lab/sums/revision/v%2F1"
            files = [{"rfilename": "README.md"}, {"rfilename": "train.jsonl"}]
            self._answer(200 if known else 404, json.dumps({"siblings": files}).encode())
            return
        self._answer(200 if self.headers["Authorization"] == f"Bearer {GOOD}" else 401, b'{"name": "jane"}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers["Authorization"] == "Basic " + base64.b64encode(f"api:{GOOD}".encode()).decode()
        self._answer(200, b'{"data": {"viewer": {"id": "1"}}}' if known else b'{"data": {"viewer": null}}')

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{hub.server_port}"
    for name in ("HF_ENDPOINT", "WANDB_BASE_URL"):
        monkeypatch.setenv(name, url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for module in ("servers", "own_sets"):
        monkeypatch.setattr(f"deepscaler.doctor.{module}.SECONDS", 120.0)  # it is this process, on a busy machine
    yield url
    hub.shutdown()
    hub.server_close()


def test_a_token_that_the_hub_refuses_fails_and_is_not_printed(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for token, status in ((GOOD, "pass"), (BAD, "fail")):
        monkeypatch.setenv("HF_TOKEN", token)
        finding = check_hub_token(Subject(purpose="cpu"))
        assert finding.status == status
        assert_silent(finding, token)
    assert finding.evidence == "127.0.0.1 answers 401"
    assert check_hub_token(Subject(purpose="cpu", starts_training=True)).status == "warn", "it has all it needs"


def test_a_key_is_asked_for_where_the_training_logs_online(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", "/nowhere")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    online = Subject(purpose="cpu", wandb=True)
    assert check_wandb_key(Subject(purpose="cpu")).status == "skip"
    assert check_wandb_key(online).evidence == "none in WANDB_API_KEY or ~/.netrc"
    for key, status in ((GOOD, "pass"), (BAD, "fail")):
        monkeypatch.setenv("WANDB_API_KEY", key)
        finding = check_wandb_key(online)
        assert finding.status == status
        assert_silent(finding, key)


def test_a_line_break_in_a_key_is_not_taken_for_the_network(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`echo KEY | base64` in a secret of Kubernetes; huggingface_hub strips it, wandb and botocore do not."""
    subject = Subject(purpose="cpu", wandb=True)
    monkeypatch.setenv("HF_TOKEN", f"{GOOD}\n")
    assert check_hub_token(subject).status == "pass"
    monkeypatch.setenv("HF_TOKEN", "hf_\u201cgood\u201d")
    assert "HF_TOKEN holds blanks or letters beyond ASCII" in check_hub_token(subject).evidence
    monkeypatch.setenv("WANDB_API_KEY", f"{GOOD}\n")
    key = check_wandb_key(subject)
    assert (key.status, key.evidence) == ("fail", "WANDB_API_KEY begins or ends with a blank or a line break")
    for name in BUCKET_KEYS:
        monkeypatch.delenv(name, raising=False)
    assert check_keys(subject).status == "skip"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", GOOD)
    assert check_keys(subject).status == "pass"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{GOOD}\r\n")
    keys = check_keys(subject)
    assert (keys.status, keys.evidence.split()[0]) == ("fail", "AWS_SECRET_ACCESS_KEY")
    assert "printf" in keys.fix
    assert_silent(keys, GOOD)


def test_a_server_that_does_not_answer_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", GOOD)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    finding = check_hub_token(Subject(purpose="cpu"))
    assert finding.status == "warn"
    assert_silent(finding, GOOD)


def test_a_model_is_here_only_with_its_weights(
    server: str, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    recipe = load_recipe("8k")
    subject = Subject(purpose="cpu", recipe=recipe)
    assert check_model(subject).evidence == f"{recipe.model} is not here; 127.0.0.1 answers"
    repository = tmp_path / f"hub/models--{recipe.model.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("abc")
    shutil.copytree(model_folder, repository / "snapshots/abc")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert check_model(subject).evidence == f"{recipe.model} is here"
    for folder in (repository / "snapshots/abc", model_folder):
        (folder / "model.safetensors").unlink()
    found = check_model(subject)
    assert (found.status, found.evidence) == (
        "fail",
        f"{recipe.model} holds no weights, and HF_HUB_OFFLINE is set",
    )
    own = check_model(Subject(purpose="cpu", recipe=replace(recipe, model=str(model_folder))))
    assert (own.status, own.evidence) == ("fail", f"{model_folder} holds no weights")
    gone = check_model(Subject(purpose="cpu", recipe=replace(recipe, model="/nowhere/model")))
    assert gone.status == "fail"


def test_data_that_is_neither_prepared_nor_reachable_is_named(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSCALER_CACHE", "/nowhere")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    subject = Subject(purpose="cpu", recipe=load_recipe("8k"))
    assert check_data(subject).status == "fail"
    assert check_data(subject).fix == "deepscaler data prepare deepscaler aime"
    assert check_data(Subject(purpose="cpu", recipe=load_recipe("quickstart"))).status == "pass"


def test_each_kind_of_ones_own_data_is_looked_for(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSCALER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    sums = tmp_path / "sums.jsonl"
    sums.write_text('{"problem": "1 + 1", "answer": "2"}\n')
    prepare_own(str(sums), tmp_path / "cache/data", called="mine")

    def found(*names: str, run: Path | None = None) -> Finding:
        recipe = replace(load_recipe("8k"), train_dataset=names[:1], validation_dataset=names[1:] or names)
        return check_data(Subject(purpose="cpu", recipe=recipe, run_dir=run))

    fine = found(str(sums), "mine", "hub:lab/sums@v/1:train")
    assert (fine.status, fine.evidence) == (
        "pass",
        f"{sums} is here; mine is here; 127.0.0.1 has hub:lab/sums@v/1:train",
    )
    assert "has no split 'test': give hub:ORG/NAME@REVISION:SPLIT with train" in found("hub:lab/sums@v/1:test").evidence
    assert found("hub:nobody/nothing@abc:train").evidence == "hub:nobody/nothing@abc:train: 127.0.0.1 answers 404"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert found("hub:lab/sums").status == "warn", "nobody knows"

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    both = found("/nowhere/sums.jsonl", "hub:nobody/nothing@abc:train")
    assert both.status == "fail"
    assert "there is no file /nowhere/sums.jsonl" in both.evidence
    assert "hub:nobody/nothing@abc:train is not in the hub's cache" in both.evidence
    snapshot = tmp_path / "hf/hub/datasets--nobody--nothing/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "README.md").write_text("a card")
    assert "has no files in .jsonl" in found("hub:nobody/nothing@abc:train").evidence
    (snapshot / "train.jsonl").write_text("{}")
    assert found("hub:nobody/nothing@abc:train").status == "pass"
    (tmp_path / "cache/data/mine.parquet").write_bytes(b"torn")
    assert "mine.parquet is missing or was changed; prepare it again" in found("mine").evidence
    sums.write_text("")
    assert found(str(sums)).evidence.startswith(f"{sums} is empty")


def test_a_run_that_has_its_own_copy_needs_the_file_no_more(tmp_path: Path) -> None:
    sums = tmp_path / "sums.jsonl"
    sums.write_text('{"problem": "1 + 1", "answer": "2"}\n')
    recipe = replace(load_recipe("8k"), train_dataset=(str(sums),), validation_dataset=(str(sums),))
    take_sources(Mixture(train=(str(sums),), validation=(str(sums),)), tmp_path / "run", tmp_path)
    sums.unlink()
    assert check_data(Subject(purpose="cpu", recipe=recipe)).status == "fail"
    assert check_data(Subject(purpose="cpu", recipe=recipe, run_dir=tmp_path / "run")).status == "pass"


def assert_silent(finding: Finding, secret: str) -> None:
    assert secret not in str(finding.to_json())
