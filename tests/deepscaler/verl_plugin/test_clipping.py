"""Clipped tokens are told apart by the bound that they are at, in every loss of verl's that has two."""

import warnings
from typing import Any

import pytest
import torch
from omegaconf import open_dict

from deepscaler.recipes.published import RECIPES
from tests.deepscaler.verl_plugin.conftest import Compose

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that verl imports
    from verl.trainer.ppo import core_algos
    from verl.utils.config import omega_conf_to_dataclass

    from deepscaler.verl_plugin import clipping

ADVANTAGES = (1.0, 1.0, -1.0, -1.0)
RATIOS = torch.tensor([[2.0, 2.0, 2.0], [0.1, 0.1, 0.1], [2.0, 2.0, 2.0], [0.1, 0.1, 0.1]])
"""Of responses of 3, 2, 2 and 1 tokens: far above and far below any bound."""

MASK = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 0, 0]]).bool()


def measured(loss: Any, config: Any) -> tuple[float, dict[str, Any]]:
    old = torch.full(RATIOS.shape, -2.5)
    advantages = torch.tensor(ADVANTAGES).unsqueeze(1).expand(RATIOS.shape)
    value, metrics = loss(
        old_log_prob=old,
        log_prob=old + RATIOS.log(),
        advantages=advantages,
        response_mask=MASK,
        loss_agg_mode="token-mean",
        config=config,
        rollout_is_weights=None,
    )
    return float(value), metrics


@pytest.mark.parametrize("name", clipping.LOSSES)
def test_both_bounds_are_counted_and_the_loss_stays_verls(
    name: str, compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_algos, "POLICY_LOSS_REGISTRY", dict(core_algos.POLICY_LOSS_REGISTRY))
    config = compose(RECIPES["8k"]).copy()
    actor = config.actor_rollout_ref.actor
    with open_dict(actor.policy_loss):
        actor.policy_loss.rollout_correction = config.algorithm.rollout_correction
    if name.startswith("dppo"):  # bounds of how far probabilities differ
        actor.clip_ratio_low = actor.clip_ratio_high = 0.01
    actor = omega_conf_to_dataclass(actor)
    verls = core_algos.get_policy_loss_fn(name)
    clipping.register()
    clipping.register()
    ours = core_algos.get_policy_loss_fn(name)
    assert ours.__wrapped__ is verls

    value, metrics = measured(ours, actor)
    wanted, before = measured(verls, actor)
    assert value == wanted
    assert before.items() <= metrics.items()
    of_all = int(MASK.sum())
    high, low = (5, 3) if name == "cispo" else (3, 1)  # it cuts ratios whatever the sign of the advantage
    assert metrics["actor/pg_clipfrac_high"] == pytest.approx(high / of_all)
    assert metrics["actor/pg_clipfrac_low"] == pytest.approx(low / of_all)
    assert metrics["actor/pg_clipfrac"] == pytest.approx((high + low) / of_all)
