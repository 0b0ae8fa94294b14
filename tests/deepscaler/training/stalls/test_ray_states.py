"""The evidence of a stall names those of Ray's tasks that have not ended, from Ray's own messages."""

import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from deepscaler.system.files import read_json
from deepscaler.training.stalls import ray_states
from deepscaler.training.stalls.ray_states import connect, unfinished, unreachable

common = pytest.importorskip("ray.core.generated.common_pb2")
messages = pytest.importorskip("ray.core.generated.gcs_pb2")
json_format = pytest.importorskip("google.protobuf.json_format")


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (("PENDING_NODE_ASSIGNMENT", "SUBMITTED_TO_WORKER", "GETTING_AND_PINNING_ARGS", "RUNNING"), "RUNNING"),
        (("SUBMITTED_TO_WORKER", "GETTING_AND_PINNING_ARGS"), "GETTING_AND_PINNING_ARGS"),
        (("GETTING_AND_PINNING_ARGS", "RUNNING", "FINISHED"), ""),
        (("GETTING_AND_PINNING_ARGS", "RUNNING", "FAILED"), ""),
        ((), "?"),
    ],
)
def test_a_task_is_in_the_state_that_it_came_to_last(states: tuple[str, ...], state: str) -> None:
    task = messages.TaskEvents()
    task.task_info.name = "WorkerDict.update"
    for moment, name in enumerate(states, start=1_795_500_000_000_000_000):
        task.state_updates.state_ts_ns[common.TaskStatus.Value(name)] = moment
    assert unfinished(json_format.MessageToDict(task)).get("state", "") == state


def node(name: str, port: int, state: str = "ALIVE") -> dict[str, Any]:
    return {"nodeName": name, "nodeManagerAddress": "127.0.0.1", "nodeManagerPort": port, "state": state}


def test_only_living_nodes_are_connected_to_and_those_that_take_no_connection_are_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as raylet, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        port, refused = raylet.getsockname()[1], unused.getsockname()[1]
        nodes = [node("head", port), node("cut", refused), node("lost", refused, "DEAD"), {"state": "ALIVE"}]
        connect(nodes)
    assert [one.get("answers") for one in nodes] == [True, False, None, False]
    assert unreachable({"nodes": nodes[:3]}) == ["cut"]
    connect("no answer: Deadline Exceeded")


def test_cut_nodes_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another, six of them took longer than anybody waits for the file."""
    together = threading.Barrier(6, timeout=30)
    monkeypatch.setattr(ray_states, "_answers", lambda _: together.wait() < 0)
    nodes = [node(f"cut{number}", 1) for number in range(6)]
    connect(nodes)
    assert unreachable({"nodes": nodes}) == [f"cut{number}" for number in range(6)]


def test_what_ray_says_is_written_down_before_the_nodes_are_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ray.json"
    before: list[Any] = []
    said = {"nodes": [node("cut", 1)], "actors": [], "tasks": []}

    def answers(_: object) -> bool:
        before.append(read_json(file))
        return False

    monkeypatch.setattr(ray_states, "states", lambda _: said)
    monkeypatch.setattr(ray_states, "_answers", answers)
    monkeypatch.setattr(sys, "argv", ["ray_states", "10.0.0.1:6379", str(file)])
    ray_states.main()
    assert before == [{"ray": "10.0.0.1:6379", **said, "nodes": [node("cut", 1)]}]
    assert unreachable(read_json(file)) == ["cut"]
