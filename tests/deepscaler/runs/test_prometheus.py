"""What Prometheus is told of runs and chains."""

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from deepscaler.cli import main
from deepscaler.commands.parser import parse
from deepscaler.recipes.signs import SIGNS
from deepscaler.runs.prometheus import FURTHER, GAUGES, registry_of, start
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_json
from tests.deepscaler.runs.runs import add_attempt, learning, make_run
from tests.places import ROOT

MONITORING = ROOT / "k8s/components/monitoring"


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
    assert text.count("# TYPE") == len(GAUGES) + len(FURTHER)


def test_prometheus_parses_what_the_dashboard_asks_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_runs(tmp_path)
    families = {family.name: family for family in text_string_to_metric_families(exposition(tmp_path))}
    assert {family.type for family in families.values()} == {"gauge"}
    assert all(family.documentation for family in families.values())
    assert main(["metrics", "--print", "dashboard"]) == 0
    dashboard = json.loads(shown := capsys.readouterr().out)
    asked = set(re.findall(r"deepscaler_\w+", shown))
    assert {"deepscaler_sick", "deepscaler_state"} < asked <= families.keys()
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    of_runs = [one for one in expressions if "deepscaler_" in one]
    assert all('namespace=~"$namespace",run=~"$run"' in one for one in of_runs), "without Kubernetes nothing has one"
    assert [one["allValue"] for one in dashboard["templating"]["list"] if one["type"] == "query"] == [".*"] * 3
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


def test_a_single_run_and_a_single_chain_are_served_by_the_same_names(tmp_path: Path) -> None:
    make_runs(tmp_path)
    assert 'deepscaler_step{run="8k",stage="8k"} 4.0\n' in exposition(tmp_path / "8k")
    assert 'deepscaler_step{run="chain",stage="8k"} 8.0\n' in exposition(tmp_path / "chain")
    assert 'run="chain"' not in exposition(tmp_path / "8k")


def test_every_sign_is_a_metric_and_is_1_where_it_is_seen(tmp_path: Path) -> None:
    add_attempt(make_run(tmp_path / "well"), learning(8))
    lines = learning(8)
    for _, values in lines[1:]:
        values["critic/score/mean"] = 0.0
    add_attempt(make_run(tmp_path / "sick"), lines)
    families = {family.name: family for family in text_string_to_metric_families(exposition(tmp_path))}
    values = {(one.labels["run"], one.labels["sign"]): one.value for one in families["deepscaler_sick"].samples}
    assert values.keys() == {(run, sign) for run in ("sick", "well") for sign in SIGNS}
    assert [key for key, value in values.items() if value] == [("sick", "reward_zero")]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """Yields a folder and a port on which it is served."""
    server, thread = start(tmp_path, "127.0.0.1", 0)
    try:
        yield tmp_path, server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_it_is_served(served: tuple[Path, int], capsys: pytest.CaptureFixture[str]) -> None:
    folder, port = served
    add_attempt(make_run(folder / "8k"), learning(4))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        assert b'deepscaler_step{run="8k",stage="8k"} 4.0' in reply.read()
        assert reply.headers["Content-Type"].startswith("text/plain; version=")
    assert capsys.readouterr() == ("", ""), "Prometheus asks every few seconds: not a line each time"


def test_it_listens_on_this_machine_alone_unless_another_address_is_given() -> None:
    arguments = parse(["metrics", "outputs"])
    assert (arguments.host, arguments.port) == ("127.0.0.1", 9095)
    [container] = yaml.safe_load((MONITORING / "exporter.yaml").read_text())["spec"]["template"]["spec"]["containers"]
    given = container["command"][container["command"].index("metrics") :]
    arguments = parse(given)
    assert (str(arguments.folder), arguments.host) == ("/runs", "0.0.0.0")
    assert container["ports"][0]["containerPort"] == arguments.port


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot serve on port {port} of 127.0.0.1 .*: give others with --host"):
            start(tmp_path, "127.0.0.1", port)


def test_nothing_to_serve_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics"]) == 2
    assert "give the folder of a run or of a chain" in capsys.readouterr().err
