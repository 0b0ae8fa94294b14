"""Dynamic sampling ends: what was thrown away is counted, and after so many groups the rest is taken as it is."""

import warnings
from typing import Any

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that verl imports
    from transfer_queue import KVBatchMeta
    from verl.utils.tensordict_utils import list_of_dict_to_tensordict

    from deepscaler.verl_plugin import sampler as samplers
    from deepscaler.verl_plugin.dispatch import FIELD
    from deepscaler.verl_plugin.sampler import AsyncSampler, Sampler

MAX_REFILLS, BATCH = 2, 3


def make(kind: type[Any], filter_by: str | None = "acc") -> Any:
    own = {"train_batch_size": BATCH, "max_refills": MAX_REFILLS, "filter_by": filter_by, "step_offset": 0}
    return kind(
        trainer_mode="sync",
        trainer_config={},
        max_off_policy_threshold=8,
        max_off_policy_strategy="drop",
        sampler_kwargs=own,
        refill_fn=lambda num_prompts: num_prompts,
    )


def finish(sampler: Any, groups: dict[str, float | None], length: int = 10) -> None:
    """Puts finished groups of two responses where verl's buffer has read them from its queue, with their one reward."""
    for uid, reward in groups.items():
        sampler.finished_keys["train"].add(uid)
        sampler._dapo_classification_cache["train"][uid] = reward
        sampler.prompt_global_steps["train"][uid] = 1
        for place in range(2):
            sampler.partitions["train"][f"{uid}_{place}_0"] = {"response_len": length, "seq_len": 2 * length}


@pytest.mark.parametrize("kind", [Sampler, AsyncSampler])
def test_groups_without_variance_are_thrown_away_up_to_the_limit(
    kind: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cleared: list[str] = []
    monkeypatch.setattr("transfer_queue.kv_clear", lambda partition_id, keys: cleared.extend(keys))
    monkeypatch.setattr("transfer_queue.kv_batch_get", lambda keys, **_: {"extra_info": [{"id": key} for key in keys]})
    sampler = make(kind)
    evicted = 0
    for poll in range(4):
        finish(sampler, {f"{poll}{place}": 0.0 for place in range(2)} | {f"{poll}good": None})
        reasons = sampler._terminal_eviction_reasons(1, "train")
        evicted += len(sampler._evict_terminal_groups(1, "train", reasons)[0])
        kept = sampler._sampleable_terminal_keys("train", reasons)
        assert evicted == min(2 * (poll + 1), MAX_REFILLS * BATCH)
        assert len(kept) == poll + 1 + max(0, 2 * (poll + 1) - MAX_REFILLS * BATCH)
    assert sampler._num_discarded_tokens == 2 * 10 * evicted
    assert len(cleared) == 3 * evicted, "a group and its two responses"
    assert len(set(sampler._discarded)) == len(sampler._discarded) == evicted, "a problem for each group"


def test_a_batch_is_in_the_order_in_which_its_prompts_were_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = make(Sampler, filter_by=None)
    sent = {"late": 2, "early": 0, "middle": 1}
    keys = [f"{uid}_{session}_0" for session in (10, 0, 2) for uid in sent]  # as they ended
    rows = [{FIELD: {"place": sent[key.split("_")[0]]}, "extra_info": {"id": f"of {key[:-2]}"}} for key in keys]
    monkeypatch.setattr("transfer_queue.kv_clear", lambda **_: None)
    monkeypatch.setattr("transfer_queue.kv_batch_get", lambda **_: list_of_dict_to_tensordict(rows))
    snapshot = {key: {"global_steps": 1} for key in keys}
    batch = sampler._materialize_batch("train", [*sent, "without a response"], snapshot)
    assert batch.keys == [f"{uid}_{session}_0" for uid in ("early", "middle", "late") for session in (0, 2, 10)]
    assert list(sampler._prompts) == ["early", "middle", "late"]
    assert sampler._num_lost == 1


def test_nothing_is_thrown_away_without_dynamic_sampling() -> None:
    sampler = make(Sampler, filter_by=None)
    finish(sampler, {"a": 0.0, "b": 1.0})
    assert sampler._terminal_eviction_reasons(1, "train")[1] == set()


def test_parts_of_the_reward_are_means_over_the_responses_that_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [{"overlong": -1.0, "acc": 1.0}, {"overlong": 0.0}, {"overlong": -0.5, "acc": 0.0}, {"overlong": 0.0}]
    scores = ([0.0, 1.0], [1.0], [0.0, 0.5, 0.0], [0.25])
    rows = [
        {"rm_scores": torch.tensor(score), "extra_fields": {"reward_extra_info": one, "response_limit": 8}}
        for score, one in zip(scores, said, strict=True)
    ]
    monkeypatch.setattr("transfer_queue.kv_batch_get", lambda **_: list_of_dict_to_tensordict(rows))
    batch = KVBatchMeta(partition_id="train", keys=["a_0_0", "a_1_0", "b_0_0", "b_1_0"], tags=[{}] * 4)
    assert samplers._measured(batch) == {
        "training/filter_groups/zero_variance_groups": 0.5,
        "reward/overlong/mean": -0.375,
        "reward/acc/mean": 0.5,
    }
