"""Stands for a training in tests of the launcher: steps on every node's GPUs, resumed from disk, ended by SIGTERM.

python driver.py OUTPUT NUM_STEPS NUM_NODES GPUS_PER_NODE
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import ray

PADDING = "x" * 2000
"""So that a full disk is noticed within two steps."""


def main() -> None:
    output, num_steps, num_nodes, num_gpus = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    assert len(os.environ["RAY_ADDRESS"].split(":")) == 2
    steps = output / "samples/steps.jsonl"
    steps.parent.mkdir(parents=True, exist_ok=True)
    done = len(steps.read_text().splitlines()) if steps.is_file() else 0
    wishes: list[int] = []
    ray.init(logging_level="warning")
    signal.signal(signal.SIGTERM, lambda number, _: wishes.append(number))

    @ray.remote(num_gpus=num_gpus, num_cpus=0, max_retries=0)
    def work() -> str:
        time.sleep(0.3)
        return os.uname().nodename

    for step in range(done + 1, num_steps + 1):
        nodes = sorted(ray.get([work.remote() for _ in range(num_nodes)], timeout=120))
        with steps.open("a") as file:
            file.write(json.dumps({"step": step, "nodes": nodes, "padding": PADDING}) + "\n")
        print(f"step {step} on {nodes}", flush=True)
        if wishes:
            sys.exit(143)


if __name__ == "__main__":
    main()
