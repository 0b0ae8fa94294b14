"""Extends verl's samplers of batches: bounds the refills of dynamic sampling, and measures what they take and leave.

verl 0.9.1 ignores `filter_groups.max_num_gen_batches`: where a model solves everything or nothing, a step never ends.
These take over after `max_refills` batches of discarded prompts: from then on a step's groups are taken as they are.

training/filter_groups/discarded_tokens      tokens of responses that were drawn and thrown away, stale ones included
training/filter_groups/zero_variance_groups  share of the groups in the batch whose responses all have one reward
reward/overlong/mean                         what the reward function says of a response, over the batch

They also put a batch into the order in which its prompts were sent, so that updates can be repeated to the last digit,
and write down which problems each step is trained on (deepscaler.runs.ledger).

verl logs what a reward function says beside the score of validation only. What a sampler returns reaches every log.
"""

from collections import Counter
from typing import Any

import numpy as np
import transfer_queue as tq
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from deepscaler.runs.folder import own_attempt
from deepscaler.runs.ledger import Batch, write_batch
from deepscaler.runs.metrics import REWARD
from deepscaler.verl_plugin import phases
from deepscaler.verl_plugin.dispatch import FIELD, problem_id, unwrapped

POLL = 0.25
"""Seconds between two looks at the queue; verl's two seconds are a good part of a short step."""

Reasons = tuple[set[str], set[str], set[str], "Counter[float]"]
"""Groups to throw away: stale, without variance, failed; and how many have which reward."""


class _Counting:
    """Counts what both samplers discard. verl leaves the metric of filtering to samplers that are not its own."""

    sampler_kwargs: Any
    filter_groups_metric: str | None
    partitions: dict[str, dict[str, dict[str, Any]]]
    pending_keys: dict[str, set[str]]
    running_keys: dict[str, set[str]]
    finished_keys: dict[str, set[str]]
    failure_keys: dict[str, set[str]]

    def __init__(self, **given: Any) -> None:
        own = given["sampler_kwargs"]
        self._num_filtered = 0
        self._num_discarded_tokens = 0
        self._discarded: list[str] = []
        self._prompts: dict[str, str] = {}
        """Problems of the last batch, by the identifiers of their groups."""
        self._num_lost = 0
        self._step_offset = own["step_offset"]
        self._most_filtered = own["max_refills"] * own["train_batch_size"]
        super().__init__(  # type: ignore[call-arg]
            **given,
            poll_interval=POLL,
            filter_groups_metric=own["filter_by"],
            train_batch_size=own["train_batch_size"],
            # As verl 0.9.1 sets it for its own samplers (trainer_base.py): a refill asks for single prompts.
            gen_batch_size=1 if own["filter_by"] else own["train_batch_size"],
        )

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, Any]]:
        """Returns a batch, and verl's metrics with ours."""
        self._num_filtered = self._num_discarded_tokens = 0
        self._discarded = []
        batch, metrics = super().sample(global_steps, partition_id, batch_size)  # type: ignore[misc]
        if partition_id == "train":
            metrics["training/filter_groups/discarded_tokens"] = self._num_discarded_tokens
            metrics |= _measured(batch)
            self._write_down(global_steps)
        return batch, metrics

    def _write_down(self, global_steps: int) -> None:
        """Adds a step to the ledger of the attempt, whose folder verl's processes know by their environment."""
        if own := own_attempt():
            batch = Batch(tuple(self._prompts.values()), tuple(self._discarded), self._num_lost)
            write_batch(own[1], self._step_offset + global_steps, batch)

    def _materialize_batch(self, partition_id: str, selected_prompt_uids: list[str], partition_snapshot: Any) -> Any:
        """Returns a batch in the order in which its prompts were sent; verl's is that in which responses ended."""
        # verl removes the prompts' entries here, so what is to be known of them is asked of their responses.
        batch = super()._materialize_batch(partition_id, selected_prompt_uids, partition_snapshot)  # type: ignore[misc]
        if not batch.keys:
            return batch
        fields = tq.kv_batch_get(keys=batch.keys, partition_id=partition_id, select_fields=[FIELD, "extra_info"])
        sent = [unwrapped(one)["place"] for one in fields[FIELD]]
        problems = dict(zip(batch.keys, map(problem_id, fields["extra_info"]), strict=True))

        def place(index: int) -> tuple[int, int, int, int]:
            # `{prompt}_{session}_{output}`: as numbers, because session 10 sorts before session 2 as text.
            _, session, part = batch.keys[index].rsplit("_", 2)
            return batch.tags[index]["global_steps"], sent[index], int(session), int(part)

        batch.reorder(sorted(range(len(batch.keys)), key=place))
        self._prompts = {_group(key): problems[key] for key in batch.keys}
        self._num_lost = len(selected_prompt_uids) - len(self._prompts)
        return batch

    def _sync_metadata_from_transfer_queue(self) -> None:
        """Reports finished responses and prompts to the stall watcher: verl waits for them without a bound."""
        super()._sync_metadata_from_transfer_queue()  # type: ignore[misc]
        if phases.current:
            for partition in ("train", "val"):
                finished = len(self.finished_keys[partition]) + len(self.failure_keys[partition])
                if running := len(self.pending_keys[partition]) + len(self.running_keys[partition]):
                    told = f"{finished} of {finished + running} prompts are finished"
                    phases.current.count(partition, finished + len(self.partitions[partition]), told)

    def _terminal_eviction_reasons(self, global_steps: int, partition_id: str) -> Reasons:
        """Leaves groups without variance where they are, once enough were thrown away in this step."""
        stale, alike, failed, counts = super()._terminal_eviction_reasons(global_steps, partition_id)  # type: ignore[misc]
        left = max(0, self._most_filtered - self._num_filtered)
        return (
            (stale, alike, failed, counts)
            if len(alike) <= left
            # Sorted, so that a repeated run discards the same groups: a set's order differs from process to process.
            else (stale, set(sorted(alike)[:left]), failed, Counter())
        )

    def _evict_terminal_groups(self, global_steps: int, partition_id: str, reasons: Reasons) -> Any:
        """Counts the groups that go for their lack of variance."""
        self._num_filtered += len(reasons[1])
        return super()._evict_terminal_groups(global_steps, partition_id, reasons)  # type: ignore[misc]

    def _clear_groups(self, partition_id: str, uids: set[str]) -> None:
        """Counts the tokens of groups that are thrown away, and notes their problems."""
        # Before the parent's call, which forgets the groups and their tokens.
        tags = {key: tag for key, tag in self.partitions[partition_id].items() if _group(key) in uids}
        self._num_discarded_tokens += sum(tag["response_len"] for tag in tags.values())
        if tags:
            keys = list({_group(key): key for key in tags}.values())
            fields = tq.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=["extra_info"])
            self._discarded += sorted(map(problem_id, fields["extra_info"]))
        super()._clear_groups(partition_id, uids)  # type: ignore[misc]


class Sampler(_Counting, ReplayBuffer):  # type: ignore[misc]
    """Samples for rollouts that take turns with updates."""


class AsyncSampler(_Counting, ReplayBufferAsync):  # type: ignore[misc]
    """Samples for rollouts that continue during updates."""


def _group(key: str) -> str:
    """Returns the identifier of a response's group."""
    return key.split("_", maxsplit=1)[0]


def _measured(batch: Any) -> dict[str, float]:
    """Returns the share of groups whose responses all got one reward, and means of what the reward function said.

    A number that only some responses have, such as `acc` where a row has no gold, is a mean over those.
    """
    fields = ["rm_scores", "extra_fields"]
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
    groups: dict[str, list[float]] = {}
    said: dict[str, list[float]] = {}
    for key, score, more in zip(batch.keys, data["rm_scores"], data["extra_fields"], strict=True):
        groups.setdefault(_group(key), []).append(float(score.sum()))
        for name, value in unwrapped(more).get("reward_extra_info", {}).items():
            said.setdefault(name, []).append(float(value))
    # As verl's filter judges (a deviation of exactly 0): two rewards that differ in the last digit do teach.
    alike = [np.ptp(group) == 0 for group in groups.values()]
    return {
        "training/filter_groups/zero_variance_groups": float(np.mean(alike)) if alike else 0.0,
        **{f"{REWARD}{name}/mean": float(np.mean(values)) for name, values in said.items()},
    }
