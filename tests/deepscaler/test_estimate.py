"""Estimates count parameters exactly and say what cannot fit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.errors import UserError
from deepscaler.estimate import GPUS, KNOWN_SHAPES, estimate, shape_of
from deepscaler.recipes import RECIPES, in_profile


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1_777_088_000),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
    ],
)
def test_parameters_are_counted_as_the_checkpoint_has_them(model: str, count: int) -> None:
    assert KNOWN_SHAPES[model].num_parameters == count


def test_a_folder_tells_its_own_shape(tmp_path: Path) -> None:
    config = {"num_hidden_layers": 2, "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": 32, "model_type": "qwen2"}))
    shape = shape_of(str(tmp_path))
    assert (shape.num_kv_heads, shape.attention_bias, shape.tied_embeddings) == (2, True, True)
    assert shape.kv_bytes_per_token == 2 * 2 * 2 * 2 * 4


def test_an_unknown_model_has_no_estimate(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its shape is not known"):
        shape_of(str(tmp_path))


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
