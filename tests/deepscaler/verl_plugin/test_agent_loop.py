"""Training and validation have limits of their own; responses that reached theirs in training leave the loss."""

import asyncio
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that verl imports
    from omegaconf import OmegaConf
    from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput
    from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
    from verl.utils.import_utils import load_extern_object, resolve_config_path

    from deepscaler.verl_plugin.agent_loop import BoundedAgentLoop

from deepscaler.recipes.published import RECIPES
from deepscaler.system.errors import UserError
from deepscaler.verl_plugin.overrides import RESPONSE_LIMIT, TRAINING_TOP_K, VALIDATION_TOP_K, to_overrides
from tests.deepscaler.verl_plugin.conftest import PATHS

LIMIT, LONGER = 4, 6


def drawn(monkeypatch: pytest.MonkeyPatch, num_tokens: int, top_k: int, masks: bool = True) -> AgentLoopOutput:
    """Returns what becomes of a response that would have so many tokens."""

    async def draw(self: Any, sampling_params: dict[str, Any], **_: Any) -> AgentLoopOutput:
        tokens = list(range(min(num_tokens, sampling_params["max_tokens"])))
        mask, metrics = [1] * len(tokens), AgentLoopMetrics()
        return AgentLoopOutput(prompt_ids=[1], response_ids=tokens, response_mask=mask, metrics=metrics)

    monkeypatch.setattr(SingleTurnAgentLoop, "run", draw)
    loop = BoundedAgentLoop.__new__(BoundedAgentLoop)
    settings = {"training_length": LIMIT, "validation_length": LONGER, "mask_truncated": masks}
    loop.rollout_config = OmegaConf.create({"custom": settings})
    return asyncio.run(loop.run({"top_k": top_k}))


@pytest.mark.parametrize(("num_tokens", "mask"), [(LIMIT - 1, [1, 1, 1]), (LIMIT, [0] * 4), (LIMIT + 1, [0] * 4)])
def test_only_responses_at_the_limit_are_masked(
    monkeypatch: pytest.MonkeyPatch, num_tokens: int, mask: list[int]
) -> None:
    assert drawn(monkeypatch, num_tokens, TRAINING_TOP_K).response_mask == mask
    assert drawn(monkeypatch, num_tokens, TRAINING_TOP_K, masks=False).response_mask == [1] * len(mask)


def test_validation_has_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    output = drawn(monkeypatch, 100, VALIDATION_TOP_K)
    assert (output.response_mask, output.extra_fields) == ([1] * LONGER, {RESPONSE_LIMIT: LONGER})
    output = drawn(monkeypatch, 100, TRAINING_TOP_K)
    assert (len(output.response_ids), output.extra_fields) == (LIMIT, {RESPONSE_LIMIT: LIMIT})


def test_verl_finds_the_loop_that_the_recipe_names() -> None:
    overrides = to_overrides(replace(RECIPES["8k"], mask_truncated=True), PATHS)
    path = resolve_config_path(overrides["actor_rollout_ref.rollout.agent.agent_loop_config_path"])
    [entry] = OmegaConf.load(path)
    assert entry.name == overrides["actor_rollout_ref.rollout.agent.default_agent_loop"]
    module, _, name = entry._target_.rpartition(".")
    assert load_extern_object(f"pkg://{module}", name) is BoundedAgentLoop
    assert Path(path).is_absolute()


def test_masked_tokens_have_no_part_in_verls_loss() -> None:
    import torch  # noqa: PLC0415
    from verl.trainer.ppo.core_algos import agg_loss  # noqa: PLC0415

    losses = torch.tensor([[1.0, 2.0, 3.0], [100.0, 100.0, 100.0]])
    mask = torch.tensor([[1, 1, 1], [0, 0, 0]])
    for mode, expected in (("token-mean", 2.0), ("seq-mean-token-mean", 2.0), ("seq-mean-token-sum", 6.0)):
        assert agg_loss(losses, mask, mode).item() == pytest.approx(expected), mode


def test_an_estimator_that_divides_by_a_groups_tokens_is_refused() -> None:
    with pytest.raises(UserError, match="mask_truncated does not go with opo"):
        replace(RECIPES["8k"], mask_truncated=True, advantage_estimator="opo")
