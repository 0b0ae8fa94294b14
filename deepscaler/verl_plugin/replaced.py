"""Has Ray replace reward workers that die: they keep nothing, so their calls are made again, and no step is lost.

verl starts them without a number of restarts, and a call to a dead one fails its whole group. Other actors stay as they
are: a new rollout engine would lack the weights, a new agent loop the prompts that it had begun.
"""

from typing import Any

import ray
from verl.experimental.reward_loop import reward_loop

RETRIES = 5
"""Most restarts for one call: a response that kills every worker must not do so forever."""

FOR_EVER = -1
"""Ray's number of restarts without a bound."""


def register() -> None:
    """Gives verl's reward workers restarts, before it starts them in this process."""
    manager = reward_loop.RewardLoopManager
    original = manager._init_reward_loop_workers

    def start(self: Any) -> None:
        # A task's retries alone do not help: without restarts Ray has no actor to send them to.
        restarted = ray.remote(max_restarts=FOR_EVER, max_task_retries=RETRIES)
        self.reward_loop_workers_class = restarted(reward_loop.RewardLoopWorker)
        original(self)

    # Once a process: wrapped again, each call of this would add a layer.
    if original.__name__ != start.__name__:
        manager._init_reward_loop_workers = start
