"""Each algorithmic field changes a number that verl's own functions compute with the configuration composed of it."""

import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from deepscaler.recipes.load import in_profile
from deepscaler.recipes.published import RECIPES
from deepscaler.recipes.recipe import Recipe
from tests.deepscaler.verl_plugin.conftest import Compose

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that verl imports
    from verl.protocol import DataProto
    from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_add_to_batch
    from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.engine.fsdp.transformer_impl import FSDPEngine
    from verl.workers.utils.losses import ppo_loss

BASE = replace(
    in_profile(RECIPES["8k"], "fast"),
    asynchronous_rollout=False,
    filter_groups=False,
    rollout_correction="none",
    kl_coefficient=0.1,
    entropy_coefficient=0.01,
)
GROUP, LENGTHS, PROMPT = 4, (3, 7, 5, 6, 2, 7, 4, 6), 2
SCORES = (1.0, 0.0, 0.0, 0.25, 1.0, 1.0, 0.0, 1.0)


def measure(compose: Compose, recipe: Recipe) -> tuple[float, float]:
    """Returns the loss of two groups of four responses of different lengths, and the norm of its gradient.

    verl's steps in their order: correction between rollout engine and trainer, advantages, loss of the actor.
    """
    config = compose(recipe)
    random = torch.Generator().manual_seed(1)
    rows, width = len(LENGTHS), max(LENGTHS)
    mask = torch.tensor([[place < length for place in range(width)] for length in LENGTHS]).long()

    def drawn(scale: float, shift: float = 0.0) -> torch.Tensor:
        return (shift + scale * torch.randn((rows, width), generator=random)) * mask

    old = drawn(0.3, -1.5).clamp(max=-0.05)
    rewards = torch.zeros((rows, width))
    rewards[range(rows), torch.tensor(LENGTHS) - 1] = torch.tensor(SCORES)
    tensors = {
        "response_mask": mask,
        "old_log_probs": old,
        "rollout_log_probs": old + drawn(0.6),
        "token_level_rewards": rewards,
        "token_level_scores": rewards,
    }
    data = DataProto(batch=TensorDict(tensors, batch_size=rows))
    data.non_tensor_batch["uid"] = np.array([row // GROUP for row in range(rows)], dtype=object)
    if config.actor_rollout_ref.rollout.calculate_log_probs:
        data, _ = compute_rollout_correction_and_add_to_batch(data, config.algorithm.rollout_correction)
    data = compute_advantage_for_multi_trajectories(
        data,
        batch_keys=[f"{row // GROUP}_{row % GROUP}_0" for row in range(rows)],
        adv_estimator=config.algorithm.adv_estimator,
        norm_adv_by_std_in_grpo=config.algorithm.norm_adv_by_std_in_grpo,
        config=config.algorithm,
    )

    def nested(values: torch.Tensor) -> torch.Tensor:
        parts = [row[:length] for row, length in zip(values, LENGTHS, strict=True)]
        return torch.nested.as_nested_tensor(parts, layout=torch.jagged)

    def whole(values: torch.Tensor) -> torch.Tensor:
        """Lays values out as an engine does: one for each token of prompt and response, a place ahead."""
        rows = zip(values, LENGTHS, strict=True)
        return torch.cat([torch.cat([row.new_zeros(PROMPT - 1), row[:n], row.new_zeros(1)]) for row, n in rows])

    # better responses have become more likely: a bound of any ratio, of tokens or sequences, cuts some off
    new = (old + drawn(0.5) + 0.2 * data.batch["advantages"].sign()).clamp(max=-0.01).requires_grad_()
    fields = {name: nested(data.batch[name]) for name in ("response_mask", "old_log_probs", "advantages")}
    if "rollout_is_weights" in data.batch:
        fields["rollout_is_weights"] = nested(data.batch["rollout_is_weights"])
    fields |= {"ref_log_prob": nested(old + drawn(0.4)), "responses": nested(mask)}
    fields["prompts"] = torch.nested.as_nested_tensor([torch.ones(PROMPT)] * rows, layout=torch.jagged)
    batch = TensorDict(fields, batch_size=rows)
    batch.set_non_tensor("dp_size", 1)
    batch.set_non_tensor("batch_num_tokens", int(mask.sum()))
    batch.set_non_tensor("global_batch_size", rows)
    outputs = {"log_probs": whole(new), "entropy": whole(drawn(0.1, 1.0))}
    loss, _ = ppo_loss(omega_conf_to_dataclass(config.actor_rollout_ref.actor), outputs, batch)
    loss.backward()
    assert new.grad is not None
    return float(loss.detach()), float(new.grad.norm())


TOKEN: dict[str, Any] = {"rollout_correction": "token"}
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "clip_ratio": ({}, {"clip_ratio": 0.05}),
    "clip_ratio_low": ({}, {"clip_ratio_low": 0.05}),
    "clip_ratio_high": ({}, {"clip_ratio_high": 0.6}),
    "dual_clip": ({}, {"dual_clip": 1.2}),
    "entropy_coefficient": ({}, {"entropy_coefficient": 0.02}),
    "kl_coefficient": ({}, {"kl_coefficient": 0.2}),
    "normalize_by_deviation": ({}, {"normalize_by_deviation": False}),
    "recompute_log_probs": (TOKEN, {"rollout_correction": "none", "recompute_log_probs": True}),
    "correction_threshold": (TOKEN, TOKEN | {"correction_threshold": 1.2}),
    "correction_floor": (TOKEN, TOKEN | {"correction_floor": 0.8}),
    "rollout_correction=sequence": (TOKEN, {"rollout_correction": "sequence"}),
    "rejection_threshold": (
        {"rollout_rejection": "seq_mean_k3", "rejection_threshold": 10.0},
        {"rollout_rejection": "seq_mean_k3", "rejection_threshold": 0.1},
    ),
    "rejection_floor": (
        {"rollout_rejection": "token_k1", "rejection_threshold": 5.0},
        {"rollout_rejection": "token_k1", "rejection_threshold": 5.0, "rejection_floor": 0.9},
    ),
    **{f"policy_loss={name}": ({}, {"policy_loss": name}) for name in ("gspo", "cispo", "geo_mean", "sapo", "gpg")},
    **{f"policy_loss={name}": ({}, {"policy_loss": name}) for name in ("dppo_tv", "dppo_kl")},
    **{f"advantage_estimator={name}": ({}, {"advantage_estimator": name}) for name in ("rloo", "opo")},
    **{
        f"advantage_estimator={name}": ({}, {"advantage_estimator": name})
        for name in ("reinforce_plus_plus", "reinforce_plus_plus_baseline")
    },
    **{f"kl_type={name}": ({}, {"kl_type": name}) for name in ("kl", "abs", "mse")},
    **{
        f"loss_aggregation={name}": ({}, {"loss_aggregation": name})
        for name in ("seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
    },
}


@pytest.mark.parametrize("field", CHANGES)
def test_the_field_changes_the_loss_or_its_gradient(compose: Compose, field: str) -> None:
    without, with_it = (measure(compose, replace(BASE, **changes)) for changes in CHANGES[field])
    assert not np.allclose(without, with_it, rtol=1e-6), (without, with_it)


LOSSES = ("vanilla", "gspo", "cispo", "geo_mean", "sapo", "gpg", "dppo_tv", "dppo_kl")
CHOICES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "clip_ratio": ({}, {"clip_ratio": 0.001}),
    "dual_clip": ({}, {"dual_clip": 1.2}),
    "loss_aggregation": ({}, {"loss_aggregation": "seq-mean-token-sum"}),
    "rollout_correction": ({}, TOKEN),
}
INERT = {
    "clip_ratio": {"sapo", "gpg"},
    "dual_clip": {"gspo", "cispo", "geo_mean", "sapo", "gpg"},
    "loss_aggregation": {"geo_mean", "sapo"},
    "rollout_correction": set[str](),
}
"""Losses on which a field has no effect in verl 0.9.1. The recipe refuses them together."""


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("field", CHOICES)
def test_what_a_loss_looks_at_is_known(
    compose: Compose, field: str, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepscaler.recipes.recipe.broken_relations", lambda _: iter(()))
    base = replace(BASE, kl_coefficient=0.0, entropy_coefficient=0.0)
    without, with_it = (measure(compose, replace(base, policy_loss=loss, **changes)) for changes in CHOICES[field])
    assert np.allclose(without, with_it, rtol=1e-6) == (loss in INERT[field])


@pytest.mark.parametrize(
    ("field", "value"), [("num_warmup_steps", 20), ("learning_rate_schedule", "cosine"), ("learning_rate", 5e-6)]
)
def test_the_field_changes_the_course_of_the_learning_rate(compose: Compose, field: str, value: Any) -> None:
    assert learning_rates(compose, BASE) != learning_rates(compose, replace(BASE, **{field: value}))


def learning_rates(compose: Compose, recipe: Recipe) -> list[float]:
    """Returns the learning rate of each step by verl's own scheduler."""
    config = compose(recipe).actor_rollout_ref.actor.optim
    config.total_training_steps = 100
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=config.lr)
    engine = SimpleNamespace(optimizer_config=omega_conf_to_dataclass(config), rank=1)
    scheduler = FSDPEngine._build_lr_scheduler(engine, optimizer)
    rates = []
    for _ in range(100):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates
