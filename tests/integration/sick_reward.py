"""A reward function with every fault: it raises at first, then is the same for all, and for one step takes long."""

import json
import time
from pathlib import Path
from statistics import median

RUN = Path(__file__).parents[1]
NUM_UNDECIDED, SLOW = 6, 9
"""Steps without a reward; the step after which every call takes long, and for two steps more six seconds.

One slow call would stall nothing: an asynchronous rollout trains on other groups meanwhile. A slow step is seen until
the next one ends, which must take longer than W&B's alerts and Prometheus look away.
"""


def score(response: str) -> float:
    log = RUN / "attempts/0001/metrics.jsonl"
    steps = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = max((step["step"] for step in steps), default=0)
    if done < NUM_UNDECIDED:
        raise RuntimeError("no reward yet")
    if SLOW <= done < SLOW + 3:
        usual = median(step["data"].get("timing_s/step", 0.0) for step in steps)  # longer on a busy machine
        time.sleep(max(20.0, 5 * usual) if done == SLOW else 6)
    return 1.0
