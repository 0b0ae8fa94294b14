"""Every recipe is a configuration that the installed verl accepts."""

import asyncio
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepscaler.recipes.load import in_profile
from deepscaler.recipes.published import RECIPES
from deepscaler.recipes.recipe import Recipe
from deepscaler.system.options import options_of, value_of, with_options
from deepscaler.verl_plugin.overrides import RunPaths, to_arguments, to_overrides
from tests.places import ROOT

PATHS = RunPaths(
    model="/models/a model, {odd}='\"",
    train_files=(Path("/data/train set.parquet"),),
    validation_files=(Path("/data/aime.parquet"),),
    run_dir=Path("/runs/one"),
    checkpoint_dir=Path("/runs/one/attempts/0002/checkpoints"),
    resume_from=Path("/runs/one/attempts/0002/resume/global_step_20"),
    own_ray=True,
    environment={"WANDB_DIR": "/runs/a b, {c}"},
    wandb=True,
)


@pytest.fixture(scope="module")
def verl() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that verl imports
        import verl  # noqa: PLC0415
        import verl.trainer.ppo.reward  # noqa: PLC0415
        import verl.trainer.ppo.utils  # noqa: PLC0415
        import verl.utils.config  # noqa: PLC0415
    return verl


def composed(verl: Any, recipe: Recipe, device: str = "cuda") -> Any:
    from hydra import compose, initialize_config_dir  # noqa: PLC0415

    folder = str(Path(verl.__file__).parent / "trainer/config")
    with initialize_config_dir(folder, version_base=None):
        return compose("ppo_trainer", to_arguments(to_overrides(recipe, PATHS, device)))


@pytest.mark.parametrize(("profile", "device"), [("faithful", "cuda"), ("fast", "cuda"), ("faithful", "cpu")])
@pytest.mark.parametrize("name", RECIPES)
def test_verl_accepts_every_recipe(verl: Any, name: str, profile: str, device: str) -> None:
    recipe = in_profile(RECIPES[name], profile)
    config = composed(verl, recipe, device)
    needs = verl.trainer.ppo.utils.need_reference_policy(config), verl.trainer.ppo.utils.need_critic(config)
    verl.utils.config.validate_config(config, *needs)
    assert needs == (recipe.kl_coefficient > 0, False)
    for key, value in to_overrides(recipe, PATHS, device).items():
        found = config
        for part in key.removeprefix("+").split("."):
            found = found[part]
        assert found == value, key


def test_verl_loads_our_reward_function(verl: Any) -> None:
    reward = verl.trainer.ppo.reward.get_custom_reward_fn(composed(verl, RECIPES["quickstart"]))
    assert asyncio.iscoroutinefunction(reward)
    response = {"data_source": "arithmetic", "solution_str": r"\boxed{2}", "ground_truth": ["2"], "extra_info": {}}
    assert asyncio.run(reward(**response))["score"] == 1


def test_what_verl_changed_silently_is_said() -> None:
    overrides = to_overrides(RECIPES["24k"], PATHS)
    assert overrides["actor_rollout_ref.actor.entropy_coeff"] == 0.001
    assert overrides["actor_rollout_ref.actor.clip_ratio_c"] > 1e6
    assert overrides["actor_rollout_ref.rollout.max_model_len"] == 1024 + 24576
    assert overrides["actor_rollout_ref.rollout.val_kwargs.temperature"] == 0.6
    assert overrides["actor_rollout_ref.rollout.val_kwargs.do_sample"] is True
    assert overrides["data.filter_overlong_prompts"] is True


def test_only_one_file_knows_verls_keys() -> None:
    package = ROOT / "deepscaler"
    knowing = [path.name for path in package.rglob("*.py") if "actor_rollout_ref" in path.read_text()]
    assert knowing == ["overrides.py"]


@pytest.mark.parametrize("num_gpus", [1, 8])
def test_a_small_machine_has_tickets_for_all_of_verls_actors(num_gpus: int) -> None:
    """The queue's controller and 8 stores, 3 for each GPU's workers, one for an actor to be placed with."""
    overrides = to_overrides(replace(RECIPES["8k"], gpus_per_node=num_gpus), PATHS)
    assert overrides["ray_kwargs.ray_init.num_cpus"] >= 1 + 8 + 3 * num_gpus + 1


OTHER: dict[str, Any] = {
    "profile": None,  # a name for three other fields
    "train_dataset": None,  # files that `RunPaths` names, and made with what `data` says
    "validation_dataset": None,
    **dict.fromkeys(("data.problem", "data.answer", "data.id", "data.weights", "data.prompt_suffix"), None),
    "reward.function": None,
    "reward.parts": None,
    "verl": None,
    "model": None,
    "name": "other",
    "kl_type": "mse",
    "fused_kernels": "triton",
    "advantage_estimator": "rloo",
    "loss_aggregation": "seq-mean-token-sum",
    "num_nodes": 2,
    "mini_batch_size": 128,
    "max_tokens_per_gpu": 40_000,
    "clip_ratio": 0.3,
    "clip_ratio_high": 0.28,
    "num_warmup_steps": 10,
    "learning_rate_schedule": "cosine",
    "policy_loss": "gspo",
    "rollout_correction": "sequence",
    "validation_top_p": 0.9,
    "dual_clip": 3.0,
    "gpu_memory_utilization": 0.5,
    "sequence_parallel_size": 2,
    "tensor_parallel_size": 2,
}
"""Another valid value where twice the value, or not the value, is none."""


@pytest.mark.parametrize("name", options_of(Recipe))
def test_every_field_changes_what_verl_is_told(name: str) -> None:
    base = replace(in_profile(RECIPES["8k"], "fast"), asynchronous_rollout=False)
    if name == "recompute_log_probs":  # without it there is nothing to correct by
        base = replace(base, rollout_correction="none")
    value = value_of(base, name)
    other = OTHER[name] if name in OTHER else not value if isinstance(value, bool) else value * 2
    if other is not None:
        assert to_overrides(with_options(base, {name: other}), PATHS) != to_overrides(base, PATHS)


@pytest.mark.parametrize(
    "text", ["jürgen/ä b", "back\\slash", 'a "quote"', 'end\\"', "end\\", "tab\there", "${no}", "{x: [1]}", ""]
)
def test_any_text_reaches_verl_as_it_is(verl: Any, text: str) -> None:
    from hydra import compose, initialize_config_dir  # noqa: PLC0415

    folder = str(Path(verl.__file__).parent / "trainer/config")
    with initialize_config_dir(folder, version_base=None):
        paths = replace(PATHS, model=text)
        config = compose("ppo_trainer", to_arguments(to_overrides(RECIPES["8k"], paths)))
    assert config.actor_rollout_ref.model.path == text
