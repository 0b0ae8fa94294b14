"""Estimates count parameters exactly and say what cannot fit."""

from dataclasses import replace

import pytest

from deepscaler.cli import main
from deepscaler.recipes.load import in_profile
from deepscaler.recipes.memory import GPUS, estimate
from deepscaler.recipes.model_shape import shape_of
from deepscaler.recipes.published import RECIPES
from deepscaler.system.errors import UserError


def test_the_published_hardware_fits_and_half_of_it_does_not() -> None:
    for name in ("8k", "16k", "24k"):
        shape = shape_of(RECIPES[name].model)
        assert estimate(RECIPES[name], shape, "A100-80GB").warnings == []
        (warning,) = estimate(RECIPES[name], shape, "A100-40GB").warnings
        assert "max_tokens_per_gpu" in warning


def test_one_gpu_cannot_keep_the_optimiser_beside_an_engine_of_its_size() -> None:
    alone = replace(in_profile(RECIPES["8k"], "fast"), gpus_per_node=1, max_tokens_per_gpu=9216)
    shape = shape_of(alone.model)
    (warning,) = estimate(alone, shape, "A100-80GB").warnings
    assert "63 GiB beside 20 of weights and optimiser" in warning
    for change in ({"gpu_memory_utilization": 0.6}, {"offload_actor": True}):
        assert estimate(replace(alone, **change), shape, "A100-80GB").warnings == []


def test_fused_kernels_save_the_logits() -> None:
    recipe = in_profile(RECIPES["8k"], "fast")
    assert estimate(recipe, shape_of(recipe.model), "A100-40GB").warnings == []


def test_an_adapter_spares_gradients_and_moments() -> None:
    alone = replace(in_profile(RECIPES["8k"], "fast"), gpus_per_node=1, max_tokens_per_gpu=9216)
    shape = shape_of(alone.model)
    whole, adapted = (estimate(one, shape, "A100-80GB") for one in (alone, replace(alone, lora_rank=32)))
    assert adapted.state == whole.state / 4
    assert adapted.warnings == []


def test_a_batch_spreads_over_all_engines() -> None:
    recipe = RECIPES["16k"]
    one = estimate(recipe, shape_of(recipe.model), "A100-80GB")
    assert one.responses_per_engine * 32 == 128 * 16
    assert one.updates_per_step == 2
    doubled = estimate(replace(recipe, tensor_parallel_size=2), shape_of(recipe.model), "A100-80GB")
    assert doubled.responses_per_engine == 2 * one.responses_per_engine
    assert doubled.sequences_at_once > 2 * one.sequences_at_once


def test_an_unknown_gpu_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="A100-80GB"):
        estimate(RECIPES["8k"], shape_of(RECIPES["8k"].model), "A100")


def test_the_command_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "24k"]) == 0
    shown = capsys.readouterr().out
    assert all(gpu in shown for gpu in GPUS)
    assert "peak of an update" in shown
