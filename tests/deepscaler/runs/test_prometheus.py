"""What Prometheus is told of runs and chains."""

import contextlib
import json
import os
import re
import socket
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from deepscaler.cli import main
from deepscaler.commands.parser import parse
from deepscaler.recipes.signs import SIGNS
from deepscaler.runs.prometheus import FURTHER, GAUGES, registry_of, start
from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json, write_json
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


def _write(name: str, content: str | bytes) -> Callable[[Path], object]:
    def damage(run: Path) -> None:
        path = run / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def _recipe(**changes: Any) -> Callable[[Path], object]:
    def damage(run: Path) -> None:
        manifest = read_json(run / "run.json")
        manifest["recipe"].update(changes)
        (run / "run.json").write_text(json.dumps(manifest))

    return damage


METRICS = "attempts/0001/metrics.jsonl"
DAMAGES: dict[str, Callable[[Path], object]] = {
    "thresholds are a list": _recipe(signs=["cut_off"]),
    "thresholds are a text": _recipe(signs="cut_off"),
    "the number of steps is a float": _recipe(num_steps=1e3),
    "the folder is the name of no file": lambda run: run.rename(run.parent / os.fsdecode(b"\xff\xfe")),
    "the record is a list": _write("attempts/0001/attempt.json", "[]"),
    "the metrics are no JSON": _write(METRICS, "{\n"),
    "a checkpoint is a file": _write("checkpoints/global_step_3", b""),
    "a link leads to itself": lambda run: (run.parent / "loop").symlink_to("loop"),
    "a data set's name is half a character": _write(
        METRICS, '{"step": 1, "data": {"val-core/\\ud800/acc/mean@8": 0.5}}\n'
    ),
    "a request to stop is in Latin-1": _write("attempts/0001/stop", "genügt".encode("latin-1")),
    "memory without roles": _write("attempts/0001/memory/n.jsonl", '{"step": 1, "used": 1, "limit": 2, "roles": []}\n'),
    "memory of a text": _write("attempts/0001/memory/n.jsonl", '{"step": 1, "used": "x", "limit": 2, "roles": {}}\n'),
    "the chain has no stages": _write("chain.json", "{}"),
    "the chain's stages are numbers": _write("chain.json", '{"stages": [1]}'),
    "the estimate is a list": _write("estimate.json", "[]"),
    "the mirror's state is a list": _write("mirror.json", "[]"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_no_folder_hides_the_others(
    damage: Callable[[Path], object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        add_attempt(make_run(tmp_path / name), learning(4))
        (tmp_path / name / "attempts/0001/heartbeat").touch()
    damage(tmp_path / "b")
    text = exposition(tmp_path)
    assert [f'deepscaler_step{{run="{name}",stage="8k"}} 4.0\n' in text for name in "ac"] == [True, True]
    unreadable = float(re.findall(r"^deepscaler_unreadable (.*)$", text, re.MULTILINE)[0])
    assert unreadable in (0, 1)
    assert len(capsys.readouterr().out.splitlines()) == unreadable
    assert unreadable or text.count("deepscaler_step{") == 3, "each folder is either served or counted"


@pytest.fixture
def shared() -> Iterator[Path]:
    """Yields a folder that all users may read: the folders of pytest are its user's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
def test_a_folder_of_another_user_hides_nothing(shared: Path) -> None:
    """Runs as nobody, since root may read all, and in a process of its own, because a change of user is for good."""
    for name in ("mine", "private"):
        add_attempt(make_run(shared / name), learning(4))
    (shared / "private").chmod(0o700)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(write, exposition(shared).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    assert re.findall(r"deepscaler_step.run=.(\w+)", text) == ["mine"]
    assert "deepscaler_unreadable 1.0\n" in text


def test_a_folder_that_cannot_be_read_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken").mkdir()
    registry = registry_of(tmp_path)
    named = []
    for content in ("{", "{", "[]", "[]"):
        (tmp_path / "broken/run.json").write_text(content)
        generate_latest(registry)
        named.append(capsys.readouterr().out.count("broken:"))
    assert named == [1, 0, 1, 0]


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
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=120) as reply:
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
