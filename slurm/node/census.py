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
    """Connects to Ray and counts nodes until all have joined; whoever started this ends it if they never do."""
    import ray  # noqa: PLC0415

    path, num_nodes = Path(sys.argv[1]), int(sys.argv[2])
    # Without an address Ray takes RAY_ADDRESS; it fails if the head's raylet has not registered, and the head
    # starts this again.
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
