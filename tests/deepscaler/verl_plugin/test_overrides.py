"""Every recipe is a configuration that the installed verl accepts."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepscaler.recipes.load import in_profile, recipe_named
from deepscaler.recipes.published import NAMES, RECIPES
from deepscaler.recipes.recipe import Recipe
from deepscaler.recipes.tables import RewardOptions
from deepscaler.system.options import options_of, value_of, with_options
from deepscaler.verl_plugin.overrides import to_overrides
from deepscaler.verl_plugin.reward import _own_function
from tests.deepscaler.verl_plugin.conftest import PATHS, Compose
from tests.places import ROOT


@pytest.mark.parametrize(("profile", "device"), [("faithful", "cuda"), ("fast", "cuda"), ("faithful", "cpu")])
@pytest.mark.parametrize("name", NAMES)
def test_verl_accepts_every_recipe(verl: Any, compose: Compose, name: str, profile: str, device: str) -> None:
    recipe = in_profile(recipe_named(name), profile)
    if device == "cpu":
        recipe = replace(recipe, sequence_parallel_size=1, max_tokens_per_gpu=recipe.max_length)
    config = compose(recipe, device)
    needs = verl.trainer.ppo.utils.need_reference_policy(config), verl.trainer.ppo.utils.need_critic(config)
    verl.utils.config.validate_config(config, *needs)
    assert needs == (recipe.kl_coefficient > 0, False)
    for key, value in to_overrides(recipe, PATHS, device).items():
        found = config
        for part in key.removeprefix("+").split("."):
            found = found[part]
        assert found == value, key


def test_verl_loads_our_reward_function(verl: Any, compose: Compose) -> None:
    reward = verl.trainer.ppo.reward.get_custom_reward_fn(compose(RECIPES["quickstart"]))
    assert asyncio.iscoroutinefunction(reward)
    response = {"data_source": "arithmetic", "solution_str": r"\boxed{2}", "ground_truth": ["2"], "extra_info": {}}
    assert asyncio.run(reward(**response))["score"] == 1


def test_verl_calls_the_runs_own_copy_of_a_reward_file(verl: Any, compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward/my.py").write_text("def score(golds, max_tokens): return {'score': 0.5, 'limit': max_tokens}")
    parts = {"grader": 1.0, "function": 0.5, "overlong": 2.0}
    options = RewardOptions(function="/elsewhere/my.py:score", parts=parts, overlong_buffer=16)
    recipe = replace(RECIPES["quickstart"], reward=options)
    config = compose(recipe, paths=replace(PATHS, run_dir=tmp_path))
    reward = verl.trainer.ppo.reward.get_custom_reward_fn(config)
    extra_info = {"num_tokens": 24, "truncated": False}
    response = {"data_source": "arithmetic", "solution_str": r"\boxed{2}", "ground_truth": ["2"]}
    found = asyncio.run(reward(**response, extra_info=extra_info))
    assert (found["grader"], found["function"], found["overlong"]) == (1.0, 0.5, -0.5)
    assert found["score"] == 1.0 + 0.5 * 0.5 - 2.0 * 0.5
    assert found["function_limit"] == recipe.max_response_length
    _own_function(**reward.args[1]["function"]).function.close()


def test_groups_are_filtered_by_what_tells_responses_apart() -> None:
    base, key = RECIPES["8k"], "algorithm.filter_groups.metric"
    assert to_overrides(base, PATHS)[key] == "acc"
    dapo = RewardOptions(parts={"grader": 1.0, "overlong": 1.0}, overlong_buffer=2048)
    assert to_overrides(replace(base, reward=dapo), PATHS)[key] == "acc"
    own = RewardOptions(parts={"grader": 1.0, "function": 1.0}, function="my.py:score")
    assert to_overrides(replace(base, reward=own), PATHS)[key] == "reward"


def test_what_verl_changed_silently_is_said() -> None:
    overrides = to_overrides(RECIPES["24k"], PATHS)
    assert overrides["actor_rollout_ref.actor.entropy_coeff"] == 0.001
    assert overrides["actor_rollout_ref.actor.clip_ratio_c"] > 1e6
    assert overrides["actor_rollout_ref.rollout.max_model_len"] == 1024 + 24576
    assert overrides["actor_rollout_ref.rollout.val_kwargs.temperature"] == 0.6
    assert overrides["actor_rollout_ref.rollout.val_kwargs.do_sample"] is True
    assert overrides["data.filter_overlong_prompts"] is True


def test_only_one_file_sets_verls_keys() -> None:
    setting = re.compile(r"""["']actor_rollout_ref\.""")
    files = (ROOT / "deepscaler").rglob("*.py")
    assert [path.name for path in files if setting.search(path.read_text())] == ["overrides.py"]


@pytest.mark.parametrize("num_gpus", [1, 8])
def test_a_small_machine_has_tickets_for_all_of_verls_actors(num_gpus: int) -> None:
    """The queue's controller and 8 stores, 3 for each GPU's workers, one for an actor to be placed with."""
    overrides = to_overrides(replace(RECIPES["8k"], gpus_per_node=num_gpus), PATHS)
    assert overrides["ray_kwargs.ray_init.num_cpus"] >= 1 + 8 + 3 * num_gpus + 1


ALL_PARTS = {"grader": 1.0, "function": 0.5, "overlong": 1.0, "length": 1.0, "format": 0.1}

OTHER: dict[str, Any] = {
    "reward.function": "other.py:score",
    "reward.overlong_buffer": 1024,
    "reward.length_cap": 4096,
    "reward.parts": {**ALL_PARTS, "grader": 0.5},
    "name": "other",
    "kl_type": "mse",
    "fused_kernels": "triton",
    "advantage_estimator": "rloo",
    "loss_aggregation": "seq-mean-token-sum",
    "num_nodes": 2,
    "mini_batch_size": 128,
    "max_tokens_per_gpu": 40_000,
    "clip_ratio": 0.3,
    "clip_ratio_low": 0.1,
    "clip_ratio_high": 0.28,
    "num_warmup_steps": 10,
    "learning_rate_schedule": "cosine",
    "policy_loss": "gspo",
    "rollout_correction": "sequence",
    "correction_floor": 0.5,
    "rollout_rejection": "seq_mean_k3",
    "rejection_threshold": 3.0,
    "rejection_floor": 0.6,
    "validation_top_p": 0.9,
    "validation_max_response_length": 31_744,
    "dual_clip": 3.0,
    "gpu_memory_utilization": 0.5,
    "sequence_parallel_size": 2,
    "tensor_parallel_size": 2,
    "lora_rank": 32,
    "lora_modules": ("q_proj", "v_proj"),
}
"""Another valid value where twice the value, or not the value, is none."""

NEEDED: dict[str, dict[str, Any]] = {
    "recompute_log_probs": {"rollout_correction": "none"},  # without it there is nothing to correct by
    "rollout_rejection": {"rejection_threshold": 2.0},
    "rejection_threshold": {"rollout_rejection": "seq_sum_k1", "rejection_threshold": 2.0},
    "rejection_floor": {"rollout_rejection": "seq_sum_k1", "rejection_threshold": 2.0},
    "batches_ahead": {"asynchronous_rollout": True},
    **{
        name: {"reward.parts": ALL_PARTS, "reward.function": "my.py:score"}
        | {"reward.overlong_buffer": 512, "reward.length_cap": 2048}
        for name in options_of(Recipe)
        if name.startswith("reward.")
    },
}
"""What a field takes effect with."""

ELSEWHERE = {
    "profile": "a name for other fields",
    "model": "a place, which `RunPaths` names",
    "train_dataset": "places",
    "validation_dataset": "places",
    "verl": "tried by a test of its own",
    "signs": "read by whoever watches a run",
    **dict.fromkeys(("keep_every", "keep_best"), "read when a checkpoint is sealed"),
    **dict.fromkeys(("data.problem", "data.answer", "data.id", "data.weights", "data.prompt_suffix"), "read before"),
}
"""Fields that are no key of verl's, and why."""


@pytest.mark.parametrize("name", [name for name in options_of(Recipe) if name not in ELSEWHERE])
def test_every_field_changes_the_configuration_that_verl_composes(compose: Compose, name: str) -> None:
    base = replace(in_profile(RECIPES["8k"], "fast"), asynchronous_rollout=False)
    other = OTHER.get(name, None if name in OTHER else _another(value_of(base, name)))
    base = with_options(base, NEEDED.get(name, {}) if name != "rollout_rejection" else {})
    changed = with_options(base, {**NEEDED.get(name, {}), name: other})
    assert compose(changed) != compose(base)


def _another(value: Any) -> Any:
    return not value if isinstance(value, bool) else value * 2


@pytest.mark.parametrize(
    "text", ["jürgen/ä b", "back\\slash", 'a "quote"', 'end\\"', "end\\", "tab\there", "${no}", "{x: [1]}", ""]
)
def test_any_text_reaches_verl_as_it_is(compose: Compose, text: str) -> None:
    config = compose(RECIPES["8k"], paths=replace(PATHS, model=text))
    assert config.actor_rollout_ref.model.path == text
