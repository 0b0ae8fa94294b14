"""Training and validation have limits of their own; responses that reached theirs in training leave the loss.

A response's seed depends on the run, the step, the problem and the sample alone.
"""

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
    from deepscaler.verl_plugin.dispatch import FIELD, Dispatched

from deepscaler.recipes.published import RECIPES
from deepscaler.system.errors import UserError
from deepscaler.verl_plugin import beats
from deepscaler.verl_plugin.overrides import RESPONSE_LIMIT, TRAINING_TOP_K, VALIDATION_TOP_K, to_overrides
from tests.deepscaler.verl_plugin.conftest import PATHS

LIMIT, LONGER = 4, 6
SENT = Dispatched(place=5, first=4, num_together=2, occurrence=0)


def drawn(monkeypatch: pytest.MonkeyPatch, num_tokens: int, top_k: int, masks: bool = True) -> AgentLoopOutput:
    """Returns what becomes of a response that would have so many tokens."""

    async def draw(self: Any, sampling_params: dict[str, Any], **_: Any) -> AgentLoopOutput:
        tokens = list(range(min(num_tokens, sampling_params["max_tokens"])))
        mask, metrics = [1] * len(tokens), AgentLoopMetrics()
        return AgentLoopOutput(prompt_ids=[1], response_ids=tokens, response_mask=mask, metrics=metrics)

    return asyncio.run(loop_that(monkeypatch, draw, masks).run({"top_k": top_k}, session_id=0))


def loop_that(monkeypatch: pytest.MonkeyPatch, draw: Any, masks: bool = True) -> Any:
    monkeypatch.setattr(SingleTurnAgentLoop, "run", draw)
    loop = BoundedAgentLoop.__new__(BoundedAgentLoop)
    settings = {"training_length": LIMIT, "validation_length": LONGER, "mask_truncated": masks, "seeded": False}
    loop.rollout_config = OmegaConf.create({"custom": settings, "full_determinism": False})
    return loop


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


def test_a_prompt_is_known_to_be_in_progress_until_its_response_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's servers give no sign of a response that they never return."""
    seen: list[Any] = []

    async def draw(*_: Any, **__: Any) -> AgentLoopOutput:
        await asyncio.sleep(0)  # the others begin meanwhile
        seen.append([what for what, _ in beats._what()["doing"]])
        if len(seen) == 3:
            raise OSError("the engine is gone")
        return AgentLoopOutput(prompt_ids=[1], response_ids=[1], response_mask=[1], metrics=AgentLoopMetrics())

    async def draw_three() -> list[Any]:
        runs = [loop_that(monkeypatch, draw).run({"top_k": TRAINING_TOP_K}, session_id=0) for _ in range(3)]
        return await asyncio.gather(*runs, return_exceptions=True)

    assert isinstance(asyncio.run(draw_three())[2], OSError)
    assert seen == [["prompt"]] * 3
    assert beats._what()["doing"] == []


def asked(seed: int = 1, offset: int = 0, top_k: int = TRAINING_TOP_K, **changes: Any) -> dict[str, Any]:
    """Returns the sampling parameters with which verl's loop is asked for a response."""
    found: dict[str, Any] = {}

    async def draw(self: Any, sampling_params: dict[str, Any], priority: int = 0, **_: Any) -> AgentLoopOutput:
        found.update(sampling_params, priority=priority)
        return AgentLoopOutput(prompt_ids=[1], response_ids=[1], response_mask=[1], metrics=AgentLoopMetrics())

    prompt: dict[str, Any] = {"global_steps": 3, "session_id": 0, "extra_info": {"id": "a/1"}, FIELD: SENT._asdict()}
    settings = {"training_length": 4, "validation_length": 4, "mask_truncated": False}
    settings |= {"seeded": True, "step_offset": offset, "num_servers": changes.pop("num_servers", 0)}
    loop = BoundedAgentLoop.__new__(BoundedAgentLoop)
    rollout = {"seed": seed, "n": 4, "val_kwargs": {"n": 2}, "full_determinism": changes.pop("determined", False)}
    loop.rollout_config = OmegaConf.create({**rollout, "custom": settings})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SingleTurnAgentLoop, "run", draw)
        asyncio.run(loop.run({"top_k": top_k}, **{**prompt, **changes}))
    return found


def test_a_seed_is_that_of_its_run_step_problem_and_sample() -> None:
    def second(**fields: int) -> dict[str, int]:
        return SENT._replace(**fields)._asdict()

    first = asked()["seed"]
    assert first == asked(dispatched=second(place=9, first=8, num_together=2))["seed"], "not of its neighbors"
    assert asked(global_steps=1, offset=2)["seed"] == first, "a run that counts anew for verl goes on in its own count"
    others = [
        asked(seed=2),
        asked(global_steps=4),
        asked(session_id=1),
        asked(extra_info={"id": "a/2"}),
        asked(top_k=VALIDATION_TOP_K),
        asked(dispatched=second(occurrence=1)),
    ]
    assert len({first, *(one["seed"] for one in others)}) == 7
    again = {asked(session_id=sample, dispatched=second(occurrence=1))["seed"] for sample in range(4)}
    assert not again & {asked(session_id=sample)["seed"] for sample in range(4)}


def test_requests_that_are_to_be_deterministic_have_names_of_their_own() -> None:
    assert asked()["priority"] == 0
    numbers = [
        asked(determined=True, session_id=sample, dispatched=SENT._replace(place=place)._asdict())["priority"]
        for place in range(3)
        for sample in range(4)
    ]
    assert numbers == list(range(12))


def test_a_turn_names_a_server_for_each_prompt_and_counts_its_requests() -> None:
    assert "turn" not in asked(), "vLLM's servers refuse what they do not know"
    turns = [
        asked(num_servers=2, session_id=sample, dispatched=Dispatched(3 + place, 3, 3, 0)._asdict())["turn"]
        for sample in range(4)
        for place in range(3)
    ]
    assert len({turn.name for turn in turns}) == 1
    for server, num_prompts in ((0, 2), (1, 1)):
        there = [turn for turn in turns if turn.server == server]
        assert {turn.size for turn in there} == {len(there)} == {4 * num_prompts}
        assert len({turn.place for turn in there}) == len(there)


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
