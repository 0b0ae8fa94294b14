"""Responses that reached the limit leave the loss, and nothing else."""

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

from deepscaler.recipes.published import RECIPES
from deepscaler.system.errors import UserError
from deepscaler.verl_plugin.mask_truncated import MaskTruncated
from tests.deepscaler.verl_plugin.test_overrides import PATHS, to_overrides

LIMIT = 4


def masked(monkeypatch: pytest.MonkeyPatch, num_tokens: int) -> AgentLoopOutput:
    async def draw(self: Any, sampling_params: dict[str, Any], **_: Any) -> AgentLoopOutput:
        tokens = list(range(num_tokens))
        metrics = AgentLoopMetrics()
        return AgentLoopOutput(prompt_ids=[1], response_ids=tokens, response_mask=[1] * num_tokens, metrics=metrics)

    monkeypatch.setattr(SingleTurnAgentLoop, "run", draw)
    loop = MaskTruncated.__new__(MaskTruncated)
    loop.response_length = LIMIT
    return asyncio.run(loop.run({}))


@pytest.mark.parametrize(("num_tokens", "mask"), [(LIMIT - 1, [1, 1, 1]), (LIMIT, [0, 0, 0, 0])])
def test_only_responses_at_the_limit_are_masked(
    monkeypatch: pytest.MonkeyPatch, num_tokens: int, mask: list[int]
) -> None:
    output = masked(monkeypatch, num_tokens)
    assert output.response_mask == mask
    assert len(output.response_ids) == num_tokens


def test_verl_finds_the_loop_that_the_recipe_names() -> None:
    overrides = to_overrides(replace(RECIPES["8k"], mask_truncated=True), PATHS)
    path = resolve_config_path(overrides["actor_rollout_ref.rollout.agent.agent_loop_config_path"])
    [entry] = OmegaConf.load(path)
    assert entry.name == overrides["actor_rollout_ref.rollout.agent.default_agent_loop"]
    module, _, name = entry._target_.rpartition(".")
    assert load_extern_object(f"pkg://{module}", name) is MaskTruncated
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
