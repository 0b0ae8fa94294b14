"""`python -m slurm.node.ray_start OPTIONS` is `ray start OPTIONS` for many nodes that read Ray from one file system.

- Ray's command line imports Serve and pandas for its other commands: more than half of what it does before it starts
  anything.
- A raylet waits 15 s for its agents to be imported and to write their ports down, then dies; on a cold file system
  every node does, again and again (ray-project/ray#65983). Here the ports are given, so they are written down before.
"""

import sys
from typing import Any

UNUSED = ("ray.serve.scripts", "ray.dashboard.modules.job.cli")
AGENT_PORTS = ("runtime_env_agent_port", "dashboard_agent_listen_port")
"""Both are options; these are the fields of Ray's parameters, and the names of the files."""


def main() -> None:
    """Start Ray on this node."""
    for name in UNUSED:  # to Ray it is not installed
        sys.modules[name] = None  # type: ignore[assignment]
    from ray import _raylet  # noqa: PLC0415
    from ray._private.node import Node  # noqa: PLC0415
    from ray.scripts.scripts import cli  # noqa: PLC0415

    start_raylet = Node.start_raylet

    def start_raylet_at_once(node: Any, *arguments: Any, **options: Any) -> None:
        for name in AGENT_PORTS:
            port = getattr(node._ray_params, name)
            _raylet.persist_port(node.get_session_dir_path(), node.node_id, name, port)  # type: ignore[attr-defined]
        start_raylet(node, *arguments, **options)

    Node.start_raylet = start_raylet_at_once
    cli(["start", *sys.argv[1:]])


if __name__ == "__main__":
    main()
