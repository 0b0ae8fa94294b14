"""verl's samplers of batches, which also bound the refills of dynamic sampling and measure what they take and leave.

verl 0.9.1 ignores `filter_groups.max_num_gen_batches`: where a model solves everything or nothing, a step never ends.
These take over after `max_refills` batches of discarded prompts: from then on a step's groups are taken as they are.

training/filter_groups/discarded_tokens      tokens of responses that were drawn and thrown away, stale ones included
training/filter_groups/zero_variance_groups  share of the groups in the batch whose responses all have one reward
reward/overlong/mean                         what the reward function says of a response, over the batch

verl logs what a reward function says beside the score of validation only. What a sampler returns reaches every log.
"""

from collections import Counter
from typing import Any

import numpy as np
import transfer_queue as tq
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from deepscaler.runs.metrics import REWARD

POLL = 0.25
"""Seconds between two looks at the queue; verl's two seconds are a good part of a short step."""

Reasons = tuple[set[str], set[str], set[str], "Counter[float]"]
"""Groups to throw away: stale, without variance, failed; and how many have which reward."""


class _Counting:
    """What both samplers do beside verl's. verl leaves the metric of filtering to samplers that are not its own."""

    sampler_kwargs: Any
    filter_groups_metric: str | None
    partitions: dict[str, dict[str, dict[str, Any]]]

    def __init__(self, **given: Any) -> None:
        own = given["sampler_kwargs"]
        self._num_filtered = 0
        self._num_discarded_tokens = 0
        self._most_filtered = own["max_refills"] * own["train_batch_size"]
        super().__init__(  # type: ignore[call-arg]
            **given,
            poll_interval=POLL,
            filter_groups_metric=own["filter_by"],
            train_batch_size=own["train_batch_size"],
            gen_batch_size=1 if own["filter_by"] else own["train_batch_size"],
        )

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, Any]]:
        """Returns a batch, and verl's metrics with ours."""
        self._num_filtered = self._num_discarded_tokens = 0
        batch, metrics = super().sample(global_steps, partition_id, batch_size)  # type: ignore[misc]
        if partition_id == "train":
            metrics["training/filter_groups/discarded_tokens"] = self._num_discarded_tokens
            metrics |= _measured(batch)
        return batch, metrics

    def _terminal_eviction_reasons(self, global_steps: int, partition_id: str) -> Reasons:
        """Leaves groups without variance where they are, once enough were thrown away in this step."""
        stale, alike, failed, counts = super()._terminal_eviction_reasons(global_steps, partition_id)  # type: ignore[misc]
        left = max(0, self._most_filtered - self._num_filtered)
        return (
            (stale, alike, failed, counts)
            if len(alike) <= left
            else (stale, set(sorted(alike)[:left]), failed, Counter())
        )

    def _evict_terminal_groups(self, global_steps: int, partition_id: str, reasons: Reasons) -> Any:
        """Counts the groups that go for their lack of variance."""
        self._num_filtered += len(reasons[1])
        return super()._evict_terminal_groups(global_steps, partition_id, reasons)  # type: ignore[misc]

    def _clear_groups(self, partition_id: str, uids: set[str]) -> None:
        """Counts the tokens of groups that are thrown away."""
        tags = self.partitions[partition_id].items()
        self._num_discarded_tokens += sum(tag["response_len"] for key, tag in tags if key.split("_")[0] in uids)
        super()._clear_groups(partition_id, uids)  # type: ignore[misc]


class Sampler(_Counting, ReplayBuffer):  # type: ignore[misc]
    """For rollouts that take turns with updates."""


class AsyncSampler(_Counting, ReplayBufferAsync):  # type: ignore[misc]
    """For rollouts that go on during updates."""


def _measured(batch: Any) -> dict[str, float]:
    """Returns the share of groups whose responses all got one reward, and means of what the reward function said.

    A number that only some responses have, such as `acc` where a row has no gold, is a mean over those.
    """
    fields = ["rm_scores", "extra_fields"]
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
    groups: dict[str, list[float]] = {}
    said: dict[str, list[float]] = {}
    for key, score, more in zip(batch.keys, data["rm_scores"], data["extra_fields"], strict=True):
        groups.setdefault(key.split("_")[0], []).append(float(score.sum()))
        extra = getattr(more, "data", more)  # tensordict wraps what is no tensor, or does not
        for name, value in extra.get("reward_extra_info", {}).items():
            said.setdefault(name, []).append(float(value))
    alike = [np.ptp(group) == 0 for group in groups.values()]
    return {
        "training/filter_groups/zero_variance_groups": float(np.mean(alike)) if alike else 0.0,
        **{f"{REWARD}{name}/mean": float(np.mean(values)) for name, values in said.items()},
    }
