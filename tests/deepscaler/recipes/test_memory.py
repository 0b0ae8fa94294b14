"""Estimates count parameters exactly and say what cannot fit."""

from dataclasses import replace

import pytest

from deepscaler.cli import main
from deepscaler.recipes.load import in_profile
from deepscaler.recipes.memory import GIB, GPUS, estimate
from deepscaler.recipes.model_shape import shape_of
from deepscaler.recipes.published import RECIPES
from deepscaler.system.errors import UserError


def test_the_published_recipes_fit_the_published_hardware_and_half_of_it() -> None:
    for name in ("8k", "16k", "24k"):
        recipe, shape = RECIPES[name], shape_of(RECIPES[name].model)
        for gpu in ("A100-80GB", "A100-40GB"):
            assert estimate(recipe, shape, gpu).warnings == []
        (warning,) = estimate(replace(recipe, fused_kernels="none"), shape, "A100-40GB").warnings
        assert "max_tokens_per_gpu" in warning


def test_an_update_is_estimated_as_it_was_measured() -> None:
    shape = shape_of(RECIPES["8k"].model)
    alone = replace(RECIPES["8k"], gpus_per_node=1)
    measured_gib = {  # reserved by torch on an H200
        41.9: alone,
        54.2: replace(alone, max_tokens_per_gpu=16_384, fused_kernels="none"),
    }
    for measured, recipe in measured_gib.items():
        assert measured < estimate(recipe, shape, "H100-80GB").training / GIB * 1.03 < 1.15 * measured
    kept = replace(alone, max_tokens_per_gpu=16_384, checkpoint_activations=False)
    more = estimate(kept, shape, "H100-80GB").activations - estimate(alone, shape, "H100-80GB").activations
    assert 40 * GIB < more < 46 * GIB


def test_one_gpu_cannot_keep_the_optimiser_beside_an_engine_of_its_size() -> None:
    alone = replace(in_profile(RECIPES["8k"], "fast"), gpus_per_node=1, max_tokens_per_gpu=9216)
    shape = shape_of(alone.model)
    (warning,) = estimate(alone, shape, "A100-80GB").warnings
    assert "63 GiB beside 20 of weights and optimiser" in warning
    for change in ({"gpu_memory_utilization": 0.6}, {"offload_actor": True}):
        assert estimate(replace(alone, **change), shape, "A100-80GB").warnings == []


def test_no_batch_of_logits_is_held_unless_asked_for() -> None:
    recipe, shape = RECIPES["8k"], shape_of(RECIPES["8k"].model)
    kinds = ("none", "chunked", "triton")
    held = {kind: estimate(replace(recipe, fused_kernels=kind), shape, "A100-40GB").logits for kind in kinds}
    assert 10 * held["chunked"] < held["none"]
    assert held["triton"] < held["none"]


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
