"""What Prometheus is told of runs and chains."""

import threading
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from deepscaler.kubernetes.pod import metrics
from deepscaler.system.files import write_json
from tests.deepscaler.runs.runs import add_attempt, learning, make_run


def test_a_run_and_a_chain_are_told_side_by_side(tmp_path: Path) -> None:
    add_attempt(make_run(tmp_path / "8k"), learning(4))
    add_attempt(make_run(tmp_path / "chain/1-8k"), learning(8), ended="now", outcome="finished")
    stages = [{"name": name, "directory": f"{n}-{name}", "state": ""} for n, name in ((1, "8k"), (2, "16k"))]
    write_json(tmp_path / "chain/chain.json", {"base": {"directory": "0-base"}, "stages": stages})
    (tmp_path / "not a run").mkdir()
    text = metrics.exposition(tmp_path)
    assert 'deepscaler_step{run="8k",stage="8k"} 4.0\n' in text
    assert 'deepscaler_step{run="chain",stage="8k"} 8.0\n' in text
    assert 'deepscaler_state{run="chain",stage="16k",state="not begun"} 1\n' in text
    assert 'deepscaler_accuracy{run="8k",stage="8k",dataset="aime"}' in text
    assert text.count("# TYPE") == len(metrics.GAUGES) + 2


def test_a_broken_run_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/run.json").write_text("{")
    assert "broken" not in metrics.exposition(tmp_path)
    assert "broken" in capsys.readouterr().out


def test_a_label_cannot_break_out(tmp_path: Path) -> None:
    add_attempt(make_run(tmp_path / 'a"} 1\\\nx 1', name="8k"), learning(1))
    assert '{run="a\\"} 1\\\\\\nx 1",stage="8k"}' in metrics.exposition(tmp_path)


def test_it_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_attempt(make_run(tmp_path / "8k"), learning(4))
    servers: list[ThreadingHTTPServer] = []

    class Watched(ThreadingHTTPServer):
        def serve_forever(self, poll_interval: float = 0.05) -> None:
            servers.append(self)
            super().serve_forever(poll_interval)

    monkeypatch.setattr(metrics, "ThreadingHTTPServer", Watched)
    thread = threading.Thread(target=metrics.serve, args=(tmp_path, 0))
    thread.start()
    while not servers:
        pass
    with urllib.request.urlopen(f"http://127.0.0.1:{servers[0].server_port}/metrics", timeout=10) as reply:
        assert b'deepscaler_step{run="8k",stage="8k"} 4.0' in reply.read()
    servers[0].shutdown()
    thread.join()
