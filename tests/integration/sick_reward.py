"""A reward function with every fault: it raises at first, then is the same for all, and for one step takes long."""

import json
import time
from pathlib import Path

RUN = Path(__file__).parents[1]
NUM_UNDECIDED, SLOW = 6, 9
"""Steps without a reward; the step after which every call takes 20 seconds, and for two steps more two seconds.

One slow call would stall nothing: an asynchronous rollout trains on other groups meanwhile. A slow step is seen until
the next one ends, which must take longer than W&B's alerts and Prometheus look away.
"""


def score(response: str) -> float:
    log = RUN / "attempts/0001/metrics.jsonl"
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()] if log.exists() else []
    done = max(steps, default=0)
    if done < NUM_UNDECIDED:
        raise RuntimeError("no reward yet")
    if SLOW <= done < SLOW + 3:
        time.sleep(20 if done == SLOW else 2)
    return 1.0
