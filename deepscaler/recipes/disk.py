"""Computes what a recipe writes: a checkpoint by the model's shape, a step's rollouts at most, and the total at once.

8k with a model of 1.78 billion parameters: 21.3 GB a checkpoint, 3 of them at once, up to 38 MB of rollouts a step
"""

from deepscaler.recipes.model_shape import ModelShape
from deepscaler.recipes.recipe import Recipe

BYTES_PER_PARAMETER = 4 + 8
"""A weight in float32 and AdamW's two moments, as verl's FSDP engine saves them."""

BYTES_FROZEN = 4
"""A weight beside which an adapter is trained; the adapter's own state is a thousandth of it."""

BYTES_PER_TOKEN = 4
"""Bytes of text per token, in the mean of English and mathematics."""


def checkpoint_bytes(recipe: Recipe, shape: ModelShape) -> int:
    """Returns the bytes of a checkpoint over all its shards."""
    return shape.num_parameters * (BYTES_FROZEN if recipe.lora_rank else BYTES_PER_PARAMETER)


def rollout_bytes(recipe: Recipe) -> int:
    """Returns the most bytes that the rollouts of a step take, if every response is as long as it may be."""
    # verl writes the prompt with each response, so a group's prompt counts group_size times.
    return recipe.train_batch_size * recipe.group_size * recipe.max_length * BYTES_PER_TOKEN


def checkpoints_at_once(recipe: Recipe) -> int:
    """Returns the most checkpoints that a run's folder holds: those that stay, and one that is being written."""
    every = recipe.num_steps // recipe.keep_every if recipe.keep_every else 0
    # Each rule counted in full, because they seldom choose the same steps, and the disk must hold the worst case.
    return recipe.keep + every + recipe.keep_best + 1
