"""A reward function with every fault: it raises at first, then is the same for all, and once takes half a minute."""

import json
import time
from pathlib import Path

RUN = Path(__file__).parents[1]
NUM_UNDECIDED, SLOW = 6, 9
"""Steps without a reward; the step after which one call takes half a minute, and others for three steps two seconds.

A slow step is seen until the next one ends, which must take longer than W&B's alerts and Prometheus look away.
"""


def score(response: str) -> float:
    log = RUN / "attempts/0001/metrics.jsonl"
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()] if log.exists() else []
    done = max(steps, default=0)
    if done < NUM_UNDECIDED:
        raise RuntimeError("no reward yet")
    if SLOW <= done < SLOW + 3:
        is_first = not (RUN / "slept").exists()
        (RUN / "slept").touch()
        time.sleep(30 if is_first else 2)
    return 1.0
