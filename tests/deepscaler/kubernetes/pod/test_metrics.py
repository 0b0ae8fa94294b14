"""What Prometheus is told of runs and chains."""

import re
import socket
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from deepscaler.kubernetes.pod.metrics import GAUGES, registry_of, start
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_json
from tests.deepscaler.runs.runs import add_attempt, learning, make_run
from tests.places import ROOT


def exposition(folder: Path) -> str:
    return generate_latest(registry_of(folder)).decode()


def make_runs(folder: Path) -> None:
    """A run, a chain of two stages, and a folder that is neither."""
    add_attempt(make_run(folder / "8k"), learning(4))
    add_attempt(make_run(folder / "chain/1-8k"), learning(8), ended="now", outcome="finished")
    stages = [{"name": name, "directory": f"{n}-{name}", "state": ""} for n, name in ((1, "8k"), (2, "16k"))]
    write_json(folder / "chain/chain.json", {"base": {"directory": "0-base"}, "stages": stages})
    (folder / "not a run").mkdir()


def test_a_run_and_a_chain_are_told_side_by_side(tmp_path: Path) -> None:
    make_runs(tmp_path)
    text = exposition(tmp_path)
    assert 'deepscaler_step{run="8k",stage="8k"} 4.0\n' in text
    assert 'deepscaler_step{run="chain",stage="8k"} 8.0\n' in text
    assert 'deepscaler_state{run="chain",stage="16k",state="not begun"} 1.0\n' in text
    assert text.count("# TYPE") == len(GAUGES) + 3


def test_prometheus_parses_what_the_dashboard_asks_for(tmp_path: Path) -> None:
    make_runs(tmp_path)
    families = {family.name: family for family in text_string_to_metric_families(exposition(tmp_path))}
    assert {family.type for family in families.values()} == {"gauge"}
    assert all(family.documentation for family in families.values())
    dashboard = (ROOT / "k8s/components/monitoring/dashboard.json").read_text()
    asked = set(re.findall(r"deepscaler_\w+", dashboard))
    assert asked
    assert asked <= families.keys()
    (accuracy,) = [sample for sample in families["deepscaler_accuracy"].samples if sample.labels["run"] == "8k"]
    assert accuracy.labels == {"run": "8k", "stage": "8k", "dataset": "aime"}
    assert 0 < accuracy.value < 1


def test_a_broken_run_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/run.json").write_text("{")
    assert "broken" not in exposition(tmp_path)
    assert "broken" in capsys.readouterr().out


def test_a_label_cannot_break_out(tmp_path: Path) -> None:
    name = 'a"} 1\\\nx 1'
    add_attempt(make_run(tmp_path / name, name="8k"), learning(1))
    families = {family.name: family for family in text_string_to_metric_families(exposition(tmp_path))}
    (step,) = families["deepscaler_step"].samples
    assert (step.labels, step.value) == ({"run": name, "stage": "8k"}, 1.0)


def test_it_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_attempt(make_run(tmp_path / "8k"), learning(4))
    server, thread = start(tmp_path, 0, "127.0.0.1")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as reply:
            assert b'deepscaler_step{run="8k",stage="8k"} 4.0' in reply.read()
            assert reply.headers["Content-Type"].startswith("text/plain; version=")
        assert capsys.readouterr() == ("", ""), "Prometheus asks every few seconds: not a line each time"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_folder_that_is_not_there_and_a_port_that_is_taken_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        start(tmp_path / "lost", 0, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="give another one with"):
        start(tmp_path, taken.getsockname()[1], "127.0.0.1")
