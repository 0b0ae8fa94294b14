"""Checks a run's problems against its recipe, with the model's tokenizer: long prompts, too few problems."""

from collections.abc import Iterator
from pathlib import Path

from deepscaler.data.table import num_rows, rows_of
from deepscaler.models.model import ChatTokenizer
from deepscaler.recipes.recipe import Recipe
from deepscaler.system.errors import UserError

TEMPLATE_TOKENS = 256
"""More than a chat template adds to a conversation; no token is shorter than a byte."""


def check_prompts(train: Path, recipe: Recipe, tokenizer: ChatTokenizer) -> Iterator[str]:
    """Yields a note on prompts that verl will leave out. Raises UserError if what is left makes no batch."""
    total, lengths = num_rows(train), list(_long_prompts(train, recipe.max_prompt_length, tokenizer))
    left = total - len(lengths)
    if left < recipe.train_batch_size:
        longer = f" ({len(lengths):,} more have prompts above max_prompt_length {recipe.max_prompt_length})"
        raise UserError(
            f"{left:,} problems{longer if lengths else ''} are fewer than train_batch_size {recipe.train_batch_size}:"
            " give more problems, or a smaller train_batch_size"
        )
    if lengths:
        yield (
            f"{len(lengths):,} of {total:,} prompts are longer than max_prompt_length {recipe.max_prompt_length} and"
            f" are left out; the longest has {max(lengths):,} tokens"
        )


def _long_prompts(train: Path, limit: int, tokenizer: ChatTokenizer) -> Iterator[int]:
    """Yields the lengths above a limit; only prompts of many bytes are worth counting."""
    for row in rows_of(train):
        messages = row["prompt"]
        # Counting tokens takes far longer than counting bytes, and almost no prompt has so many.
        if sum(len(message["content"].encode()) for message in messages) + TEMPLATE_TOKENS <= limit:
            continue
        # With the generation prompt, as verl counts: R1's template ends it with <think>.
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        if isinstance(ids, list) and len(ids) > limit:
            yield len(ids)
