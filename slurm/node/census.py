"""Counts who has joined Ray: `python -m slurm.node.census FILE NUM_NODES`, with RAY_ADDRESS and its token as variables.

Writes {"node1": 8, "node2": 8} whenever it changes, and ends once there are as many nodes. A process of its own: a Ray
driver takes over signals, and the task of a node needs them.
"""

import sys
import time
from pathlib import Path

from deepscaler.system.files import write_json

INTERVAL = 0.25


def main() -> None:
    """Connect, then count until all are there; whoever started this ends it where they never are."""
    import ray  # noqa: PLC0415

    path, num_nodes = Path(sys.argv[1]), int(sys.argv[2])
    ray.init(log_to_driver=False, logging_level="warning")
    told: dict[str, int] = {}
    while True:
        joined = {str(node["NodeName"]): int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]}
        if joined != told:
            write_json(path, joined)
            told = joined
        if len(joined) >= num_nodes:
            return
        time.sleep(INTERVAL)


if __name__ == "__main__":
    main()
