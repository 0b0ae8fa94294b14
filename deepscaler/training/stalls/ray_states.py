"""Writes down Ray's nodes, actors and unfinished tasks: `python -m deepscaler.training.stalls.ray_states ADDRESS FILE`.

{"nodes": [{"nodeManagerAddress": "10.0.0.1", "state": "ALIVE", "answers": true}],
 "actors": [{"className": "RolloutServer", "state": "ALIVE", "pid": 4711, "name": "transformers_server_0"}],
 "tasks": [{"name": "WorkerDict.actor_rollout_update_actor", "state": "RUNNING", "workerPid": 4712}]}

`ray list` asks the dashboard, which the kit does not start; this asks what the dashboard asks.
"""

import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deepscaler.runs.beats import Beat, role_of
from deepscaler.system.files import write_json

TIMEOUT = 5.0
"""Seconds for each of the three answers, and for a connection to each node."""

AT_ONCE = 128
"""Nodes to connect to in parallel: who asks waits half a minute, and every cut node takes the whole TIMEOUT."""

LIVING, DEAD = "ALIVE", "DEAD"

UNASKED = ("WORKER_DIED", "NODE_DIED")
"""Ray's reasons for the death of an actor that nobody has ended."""

REFUSED = "Connection refused"
"""Part of gRPC's error where no process listens any more; one that is only slow or stopped gives another."""

MOST = 10_000
KEPT = {
    "nodes": ("nodeName", "nodeManagerAddress", "nodeManagerPort", "state"),
    "actors": ("name", "className", "state", "numRestarts", "pid", "address", "deathCause"),
}
ENDED = ("FINISHED", "FAILED")


def main() -> None:
    """Writes down what Ray says, and why where it does not; then also which nodes take a connection."""
    address, file = sys.argv[1], Path(sys.argv[2])
    told = {"ray": address, **states(address)}
    write_json(file, told)  # whoever asked may end this process while it connects
    connect(told["nodes"])
    write_json(file, told)


def states(address: str) -> dict[str, Any]:
    """Returns what the GCS at an address knows; of a question that it does not answer, why not."""
    from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]  # noqa: PLC0415
    from ray._private.grpc_utils import init_grpc_channel  # noqa: PLC0415
    from ray.core.generated import gcs_service_pb2 as messages  # noqa: PLC0415
    from ray.core.generated import gcs_service_pb2_grpc as services  # noqa: PLC0415

    channel = init_grpc_channel(address)
    nodes = services.NodeInfoGcsServiceStub(channel).GetAllNodeInfo
    actors = services.ActorInfoGcsServiceStub(channel).GetAllActorInfo
    tasks = services.TaskInfoGcsServiceStub(channel).GetTaskEvents

    def ask(question: Callable[..., Any], request: Any, key: str) -> list[dict[str, Any]] | str:
        try:
            # grpc waits for ever by default, and the GCS may be what hangs.
            answer = MessageToDict(question(request, timeout=TIMEOUT))
        except Exception as error:  # grpc's are of many kinds
            return f"no answer: {error}"
        return list(answer.get(key, []))

    told = {
        "nodes": ask(nodes, messages.GetAllNodeInfoRequest(), "nodeInfoList"),
        "actors": ask(actors, messages.GetAllActorInfoRequest(limit=MOST), "actorTableData"),
        "tasks": ask(tasks, messages.GetTaskEventsRequest(limit=MOST), "eventsByTask"),
    }
    return {
        kind: found if isinstance(found, str) else [one for one in map(_CHOSEN[kind], found) if one]
        for kind, found in told.items()
    }


def connect(nodes: list[dict[str, Any]] | str) -> None:
    """Adds to each node whether it answers, unless Ray has given it up; does nothing to a text of why none is known."""
    living = [node for node in nodes if node.get("state", LIVING) != DEAD] if not isinstance(nodes, str) else []
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for node, answers in zip(living, threads.map(_answers, living), strict=True):
            node["answers"] = answers


def _answers(node: dict[str, Any]) -> bool:
    """Returns whether a connection to a node's raylet comes about; a network that is cut one way lets none."""
    try:
        with socket.create_connection((node["nodeManagerAddress"], node["nodeManagerPort"]), TIMEOUT):
            return True
    except (OSError, KeyError):
        return False


def unreachable(states: dict[str, Any]) -> list[str]:
    """Returns the nodes that Ray has not given up and that do not answer, by name or address."""
    nodes = states.get("nodes", [])
    return [
        str(node.get("nodeName") or node.get("nodeManagerAddress"))
        for node in (nodes if isinstance(nodes, list) else [])
        if node.get("state", LIVING) == LIVING and node.get("answers") is False
    ]


def gone(states: dict[str, Any]) -> list[str]:
    """Returns which of Ray's actors died without being asked to and were not replaced, and the GCS if it has ended."""
    actors = states.get("actors", [])
    if not isinstance(actors, list):
        return [f"Ray's GCS at {states.get('ray')}"] if REFUSED in actors else []
    living = {actor.get("name") for actor in actors if actor.get("state") != DEAD and actor.get("name")}
    return [str(_of_actor(actor)) for actor in actors if _has_died(actor) and actor.get("name") not in living]


def _has_died(actor: dict[str, Any]) -> bool:
    cause = actor.get("deathCause", {})
    # Ray's own memory monitor has a cause of its own, without a reason.
    return actor.get("state") == DEAD and (
        "oomContext" in cause
        or any(isinstance(context, dict) and context.get("reason") in UNASKED for context in cause.values())
    )


def _of_actor(actor: dict[str, Any]) -> Beat:
    """Returns an actor as if it had given a sign of life."""
    role, host = role_of(actor.get("className", "").rpartition(".")[2]), actor.get("address", {}).get("ipAddress", "?")
    return Beat(beat=0, role=role, host=host, pid=actor.get("pid", 0), name=actor.get("name", ""))


def _chosen(kind: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in KEPT[kind] if name in entry}


def unfinished(entry: dict[str, Any]) -> dict[str, Any]:
    """Returns a task that has not ended, with the last state that it came to."""
    updates = entry.get("stateUpdates", {})
    # The last by its time, in nanoseconds: Ray 2.60 numbers GETTING_AND_PINNING_ARGS above FINISHED and FAILED.
    states = {int(number): int(when) for number, when in updates.get("stateTsNs", {}).items()}
    from ray.core.generated.common_pb2 import TaskStatus  # noqa: PLC0415

    state = TaskStatus.Name(max(states, key=lambda number: states[number])) if states else "?"
    if state in ENDED:
        return {}
    return {"name": entry.get("taskInfo", {}).get("name"), "state": state, "workerPid": updates.get("workerPid")}


_CHOSEN: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "nodes": lambda entry: _chosen("nodes", entry),
    "actors": lambda entry: _chosen("actors", entry),
    "tasks": unfinished,
}


if __name__ == "__main__":
    main()
