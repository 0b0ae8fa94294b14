"""Starts Ray without parts that nobody uses here: dashboard, its agent on each node, the autoscaler's monitor."""

import shlex
import subprocess
from collections.abc import Callable
from typing import Any

AGENT_PORTS = ("runtime_env_agent_port", "metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
"""Fields of Ray's parameters, and the names of the files in which a raylet looks for them."""

NOBODY = -1
"""Ray's own word for the port of a service that is not there."""


def leave_out(later: Callable[[list[str]], list[str]] = list, begins: Callable[[], object] = lambda: None) -> None:
    """Has this process start Ray's nodes without that.

    `later` changes the commands of what serves workers alone; `begins` is called when a node begins to start.

    A raylet waits 15 s for its agents to be imported and to write their ports down, then dies; on a cold file system
    every node does, again and again (ray-project/ray#65983). Ports that are given are written down before.
    """
    from ray._private import services, utils  # noqa: PLC0415
    from ray._private.node import Node  # noqa: PLC0415
    from ray._raylet import persist_port  # type: ignore[attr-defined]  # noqa: PLC0415

    start_process, start_raylet = services.start_ray_process, Node.start_raylet

    def start_adapted(command: list[str], process_type: str, *arguments: Any, **options: Any) -> Any:
        if process_type == "log_monitor":
            command = later(_postponing(command))
        return start_process([_adapted(part, later) for part in command], process_type, *arguments, **options)

    def start_raylet_at_once(node: Any, *arguments: Any, **options: Any) -> None:
        begins()
        # The first one stays out if it was not chosen: that agent does run, and writes its port down by itself.
        for name in AGENT_PORTS:
            port = getattr(node._ray_params, name)
            if port or name != AGENT_PORTS[0]:
                persist_port(node.get_session_dir_path(), node.node_id, name, port or NOBODY)
        start_raylet(node, *arguments, **options)

    utils.get_dashboard_dependency_error = lambda: None  # it imports them all
    services.start_ray_process = start_adapted
    Node.start_raylet = start_raylet_at_once
    Node.start_monitor = lambda *_, **__: None
    Node.start_api_server = lambda *_, **__: None  # Ray waits for it even where it is to be left out


def _adapted(part: str, later: Callable[[list[str]], list[str]]) -> str:
    """Returns a part of a command: a raylet's without dashboard agent, its other agent to be started later."""
    name, _, value = part.partition("=")
    if name == "--dashboard_agent_command":
        return f"{name}=sleep infinity"  # a raylet ends with its agent
    if name == "--runtime_env_agent_command":
        return f"{name}={subprocess.list2cmdline(later(_postponing(shlex.split(value))))}"
    return part


def _postponing(command: list[str]) -> list[str]:
    """Returns `PYTHON -u SCRIPT ARGUMENTS` such that the script imports less."""
    script = next(index for index, part in enumerate(command) if part.endswith(".py"))
    return [*command[:script], "-P", "-m", "deepscaler.system.seldom", *command[script:]]
