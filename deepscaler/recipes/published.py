"""Defines DeepScaleR's stages and ablations, and two for a CPU; each states only how it differs from another.

8k -> 16k -> 24k is DeepScaleR's schedule; 2k and 4k are its ablations. What others published are the TOML files here.
"""

from dataclasses import replace
from pathlib import Path

from deepscaler.recipes.recipe import Recipe

_8K = Recipe()
_16K = replace(
    _8K,
    name="16k",
    max_response_length=16_384,
    group_size=16,
    validation_group_size=16,
    num_nodes=4,
    num_steps=480,  # the chain's steps 1040 to 1520
    save_every=10,
    validate_every=10,
)
_24K = replace(_16K, name="24k", max_response_length=24_576, num_steps=230)  # steps 1520 to about 1750
_2K = replace(
    _8K,
    name="2k",
    max_prompt_length=512,
    max_response_length=2048,
    train_batch_size=256,
    max_tokens_per_gpu=24_000,
    gpu_memory_utilization=0.9,
    validate_every=10,
)
_4K = replace(_2K, name="4k", max_response_length=4096)
_QUICKSTART = replace(
    _8K,
    name="quickstart",
    model="HuggingFaceTB/SmolLM2-135M-Instruct",
    train_dataset=("arithmetic_train",),
    validation_dataset=("arithmetic",),
    num_steps=4,
    gpus_per_node=1,
    max_prompt_length=128,
    max_response_length=32,
    train_batch_size=4,
    group_size=8,
    mini_batch_size=4,
    max_tokens_per_gpu=8192,
    learning_rate=1e-5,
    entropy_coefficient=0.0,
    kl_coefficient=0.0,  # no reference, no second pass for old log-probabilities: a CPU pays for every token
    recompute_log_probs=False,
    temperature=1.0,
    validation_temperature=1.0,
    # SmolLM2 writes no </think>, so every response would score 0.
    thinking=False,
    validation_group_size=1,
    gpu_memory_utilization=0.3,
    save_every=2,
    validate_every=4,
)
_LEARN = replace(
    _QUICKSTART,
    name="learn",
    num_steps=60,
    train_batch_size=8,
    mini_batch_size=8,
    save_every=20,
    validate_every=20,
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (_2K, _4K, _8K, _16K, _24K, _QUICKSTART, _LEARN)}
"""The recipes of this module by name."""

FILES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
"""Recipes that others published, by name: files beside this one, read when one is asked for."""

NAMES = (*RECIPES, *FILES)
"""Every name of a recipe."""
