"""`python -m slurm.node.ray_start head|worker FIELDS` is `ray start --block` for many nodes that share a file system.

FIELDS is a JSON object of Ray's own RayParams. What a node imports before it joins is what a large job waits for, on a
cold file system for minutes, so this starts a node by Ray's classes and leaves out what `ray start` does beside:

- Ray's command line imports Serve, pandas, its autoscaler and its state API for other commands: 2.4 of 2.9 s.
- A dashboard, its agent on every node and a server for Ray's client: nobody asks them in a job of SLURM.
- The log monitor and the agent of runtime environments, which serve workers, are started once the node has joined.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path

from deepscaler.system.lean_ray import leave_out
from deepscaler.system.seldom import postpone

POLL = 1.0
"""Seconds between two looks at the processes of the node, as `ray start --block` has it."""


def main() -> None:
    """Starts Ray on this node, and ends with code 1 when a part of it has ended."""
    role, fields = sys.argv[1], json.loads(sys.argv[2])
    postpone()
    from ray._private import services  # noqa: PLC0415
    from ray._private.node import Node  # noqa: PLC0415
    from ray._private.parameter import RayParams  # noqa: PLC0415

    # a driver that is given a loopback's address asks for another one of this node
    fields["node_ip_address"] = services.resolve_ip_for_localhost(fields["node_ip_address"])
    joined = Path(fields["temp_dir"]) / "joined"
    joined.unlink(missing_ok=True)  # of a Ray on this node that gave up
    leave_out(later=partial(_later, joined))
    # Ray's reaper would do what the guardian around this process does, one process more on every node.
    node = Node(RayParams(**fields), head=role == "head", shutdown_at_exit=True, spawn_reaper=False)
    joined.touch()
    print("Ray is up on this node.", flush=True)
    while not (ended := node.dead_processes()):
        time.sleep(POLL)
    print(f"Ended: {', '.join(f'{name} with code {process.returncode}' for name, process in ended)}", flush=True)
    node.kill_all_processes(check_alive=False, allow_graceful=False)
    sys.exit(1)


def _later(joined: Path, command: list[str]) -> list[str]:
    """Returns the command that waits for a file before it becomes another one."""
    # -S leaves out `site` and its .pth files, -I the environment: this runs while the file system is at its
    # slowest.
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("after_joining.py")), str(joined), *command]


if __name__ == "__main__":
    main()
