"""Recipes are the published ones, differ only where they say so, and are refused where they cannot run."""

from dataclasses import fields, replace
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.recipes.load import in_profile, recipe_named
from deepscaler.recipes.published import RECIPES
from deepscaler.recipes.recipe import Recipe, with_settings
from deepscaler.system.errors import UserError
from deepscaler.system.options import options_of

# DeepScaleR's scripts: nodes, prompts, prompt and response tokens, group, tokens a GPU, memory share, save, test
PUBLISHED = {
    "2k": (1, 256, 512, 2048, 8, 24000, 0.9, 20, 10),
    "4k": (1, 256, 512, 4096, 8, 24000, 0.9, 20, 10),
    "8k": (1, 128, 1024, 8192, 8, 32768, 0.85, 20, 20),
    "16k": (4, 128, 1024, 16384, 16, 32768, 0.85, 10, 10),
    "24k": (4, 128, 1024, 24576, 16, 32768, 0.85, 10, 10),
}


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_the_published_stages_are_as_published(name: str, published: tuple[Any, ...]) -> None:
    r = RECIPES[name]
    sizes = (r.num_nodes, r.train_batch_size, r.max_prompt_length, r.max_response_length, r.group_size)
    assert (*sizes, r.max_tokens_per_gpu, r.gpu_memory_utilization, r.save_every, r.validate_every) == published
    assert (r.learning_rate, r.mini_batch_size, r.kl_coefficient, r.kl_type) == (1e-6, 64, 0.001, "low_var_kl")
    assert (r.temperature, r.validation_temperature, r.entropy_coefficient) == (0.6, 0.6, 0.001)
    assert (r.advantage_estimator, r.dual_clip, r.gpus_per_node, r.profile) == ("grpo", 0, 8, "faithful")


def test_24k_differs_from_16k_by_its_length_alone() -> None:
    a, b = RECIPES["16k"], RECIPES["24k"]
    differing = {f.name for f in fields(Recipe) if getattr(a, f.name) != getattr(b, f.name)}
    assert differing == {"name", "max_response_length", "num_steps"}


def test_every_parameter_says_what_it_means_and_where_it_is_from() -> None:
    assert [name for name, one in options_of(Recipe).items() if not one.help or not one.notes["source"]] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mini_batch_size": 256}, "mini_batch_size 256 must divide train_batch_size 128"),
        ({"num_nodes": 5}, "must divide over 40 data-parallel ranks"),
        ({"max_tokens_per_gpu": 1000}, "must hold one sequence of 9216 tokens"),
        ({"tensor_parallel_size": 3}, "tensor_parallel_size 3 must divide gpus_per_node 8"),
        ({"sequence_parallel_size": 3}, "must divide the 8 GPUs"),
        ({"kl_type": "low_var"}, "did you mean 'low_var_kl'"),
        ({"advantage_estimator": "grop"}, "did you mean 'grpo'"),
        ({"group_size": 1}, "group_size must be above 1"),
        ({"train_dataset": ("deepscalr",)}, "did you mean 'deepscaler'"),
        ({"learning_rate": 0.0}, "invalid value 0.0 for learning_rate: expected a number above 0"),
        ({"gpu_memory_utilization": 1.5}, "expected a number above 0 and below 1"),
        ({"clip_ratio_high": 0.1}, "must be 0 .for clip_ratio. or at least the lower bound 0.2"),
        ({"rollout_correction": "token", "recompute_log_probs": False}, "it needs recompute_log_probs=true"),
        ({"rollout_rejection": "seq_mean_k3"}, "needs rejection_threshold: verl's presets have 0.01"),
        ({"rollout_rejection": "seq_mean_k1", "rejection_threshold": 0.01}, "must be at least 1, the ratio of equal"),
        ({"rollout_rejection": "seq_sum_k1", "rejection_threshold": 2.0, "rejection_floor": 3.0}, "must be at most"),
        ({"rollout_correction": "token", "correction_floor": 3.0}, "at most correction_threshold 2.0"),
        ({"keep_every": 50}, "keep_every 50 must be a multiple of save_every 20"),
        ({"save_every": 30, "keep_best": 1}, "save_every 30 must be a multiple of validate_every 20"),
        ({"lora_rank": 32}, "lora_rank are of the profile `fast`"),
        ({"policy_loss": "gpg", "clip_ratio_high": 0.28}, "have no effect on policy_loss=gpg"),
        ({"policy_loss": "gspo", "dual_clip": 3.0}, "dual_clip has no effect on policy_loss=gspo"),
        ({"policy_loss": "geo_mean", "loss_aggregation": "seq-mean-token-sum"}, "loss_aggregation has no effect"),
        ({"advantage_estimator": "rloo", "normalize_by_deviation": False}, "has no effect on advantage_estimator=rloo"),
        ({"correction_floor": 0.5}, "no effect without rollout_correction"),
        ({"rejection_threshold": 0.5}, "no effect without rollout_rejection"),
        ({"batches_ahead": 2}, "no effect without asynchronous_rollout"),
        ({"profile": "fast", "asynchronous_rollout": True}, "set rollout_correction to token or sequence"),
        ({"sequence_parallel_size": 0}, "invalid value 0 for sequence_parallel_size: expected an integer above 0"),
        ({"gpus_per_node": 0}, "invalid value 0 for gpus_per_node"),
        ({"learning_rate": float("inf")}, "invalid value inf for learning_rate"),
        ({"temperature": float("nan")}, "invalid value nan for temperature"),
        ({"dual_clip": 0.5}, "invalid value 0.5 for dual_clip: expected a number above 1, or 0"),
        ({"seed": 1 << 32}, "of at least 0 and at most 4294967295"),
        ({"name": "../../x"}, "expected letters, digits"),
        ({"model": ""}, "expected a hub id or a folder"),
    ],
)
def test_what_cannot_run_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(RECIPES["8k"], **changes)


def test_settings_are_typed_by_their_field() -> None:
    changed = with_settings(RECIPES["8k"], ["group_size=16", "learning_rate=2e-6", "offload_actor=true", "model=a=b"])
    assert (changed.group_size, changed.learning_rate, changed.offload_actor, changed.model) == (16, 2e-6, True, "a=b")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("group_size", "expected NAME=VALUE"),
        ("groupsize=16", "did you mean 'group_size'"),
        ("group_size=many", "invalid value 'many' for group_size: expected an integer above 0 .responses per prompt"),
        ("offload_actor=maybe", "expected true or false"),
        ("learning_rate=fast", "expected a number"),
    ],
)
def test_wrong_settings_are_named(setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_settings(RECIPES["8k"], [setting])


def test_profiles_are_never_mixed_up() -> None:
    fast = in_profile(RECIPES["8k"], "fast")
    assert fast.profile == "fast"
    assert fast.asynchronous_rollout
    assert fast.rollout_correction == "token"
    assert in_profile(fast, "faithful") == RECIPES["8k"]


def test_an_unknown_recipe_lists_the_valid_ones() -> None:
    with pytest.raises(UserError, match=r"did you mean '16k'.*quickstart"):
        recipe_named("16kk")


def test_the_command_shows_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "16k", "24k"]) == 0
    shown = capsys.readouterr().out
    assert "max_response_length" in shown
    assert "24,576" in shown
    assert "learning_rate" not in shown
    assert main(["recipes", "8k", "--set", "group_size=1"]) == 2
