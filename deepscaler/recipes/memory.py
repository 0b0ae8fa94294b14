"""Estimates what a recipe needs of each GPU, before anything is submitted: products of sizes, no measurement.

Training and the rollout engine take turns on a GPU's memory (the engine sleeps during the update), so each must fit
alone; beside the engine only the actor's weights and optimiser stay, unless they are offloaded. What an update needs at
different times is added up: torch's allocator keeps the blocks of one for the next of the same size, but seldom for
others. Left out: CUDA's own gigabyte, NCCL buffers; hence the margin.
"""

from dataclasses import dataclass

from deepscaler.recipes.cards import card_named
from deepscaler.recipes.model_shape import ModelShape
from deepscaler.recipes.recipe import Recipe

GIB = 1 << 30
MARGIN = 0.9
"""Share of a GPU's memory that an estimate may fill."""

GPUS = ("A100-40GB", "A100-80GB", "H100-80GB")
"""The cards that a plan shows side by side."""

BYTES_OF_STATE = 4 + 4 + 8
"""A parameter in float32, its gradient, and AdamW's two moments (verl's FSDP actor keeps all in float32)."""

BYTES_OF_STEP = 4
"""Temporary values that AdamW computes for all parameters at once, in float32."""

CHUNK = 2048
"""Tokens whose logits exist at once where fused_kernels=chunked."""

TRITON_SPLIT = 9504
"""Words of the vocabulary whose gradient verl's Triton kernel holds at once (utils/kernel/kernels.py)."""

BYTES_BETWEEN_UPDATES = 4 + 8
"""The same without the gradient."""

BYTES_FROZEN = 4
"""A parameter beside which an adapter is trained; the adapter's own state is lost in the margin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes on one GPU, and how a batch spreads."""

    gpu: str
    memory: int
    state: int
    """Sharded weights, gradients and optimiser."""
    step: int
    """While the optimiser steps."""
    activations: int
    """Activations of a packed micro batch: every layer's inputs and one layer's inside, or all that gradients need."""
    logits: int
    """Logits that exist at once, and their gradient."""
    resident: int
    """Bytes that training leaves on the GPU while the rollout engine generates."""
    engine: int
    """The rollout engine's share: `gpu_memory_utilization`."""
    engine_weights: int
    kv_cache: int
    """Bytes that the rollout engine has left for keys and values; negative if its weights do not fit."""
    cached_tokens: int
    """Whose keys and values fit into the cache of one engine, over all its GPUs."""
    sequences_at_once: int
    """Sequences of full length that fit into the cache of one engine; short ones fit more often."""
    responses_per_engine: int
    updates_per_step: int

    @property
    def training(self) -> int:
        """Returns the peak of an update, in bytes."""
        return self.state + self.step + self.activations + self.logits

    @property
    def warnings(self) -> list[str]:
        """Returns why the job cannot fit, or will be slow."""
        found = []
        if self.training > MARGIN * self.memory:
            found.append(
                f"an update needs about {self.training / GIB:.0f} GiB, a {self.gpu} has {self.memory / GIB:.0f}:"
                " lower max_tokens_per_gpu (with sequence_parallel_size)"
            )
        if self.resident + self.engine > self.memory:
            found.append(
                f"the rollout engine takes {self.engine / GIB:.0f} GiB beside {self.resident / GIB:.0f} of weights and"
                f" optimiser, a {self.gpu} has {self.memory / GIB:.0f}:"
                " lower gpu_memory_utilization, or set offload_actor=true"
            )
        if self.sequences_at_once < 1:
            found.append("the rollout engine's cache holds no sequence of full length: raise gpu_memory_utilization")
        return found


def estimate(recipe: Recipe, shape: ModelShape, gpu: str) -> Estimate:
    """Returns what one GPU of a kind has to hold for a recipe. Raises UserError for an unknown kind."""
    memory = card_named(gpu).memory
    # In bfloat16, verl's default of rollout.dtype.
    engine_weights = 2 * shape.num_parameters // recipe.tensor_parallel_size
    engine = int(recipe.gpu_memory_utilization * memory)
    kv_cache = engine - engine_weights
    cached_tokens = max(0, kv_cache) * recipe.tensor_parallel_size // shape.kv_bytes_per_token
    trained, resting = (BYTES_FROZEN,) * 2 if recipe.lora_rank else (BYTES_OF_STATE, BYTES_BETWEEN_UPDATES)
    num_engines = recipe.world_size // recipe.tensor_parallel_size
    return Estimate(
        gpu=gpu,
        memory=memory,
        # FSDP shards parameters, gradients and moments over all ranks, also where several share a sequence.
        state=trained * shape.num_parameters // recipe.world_size,
        # torch's foreach implementation of AdamW makes its temporaries for all parameters together.
        step=0 if recipe.lora_rank else BYTES_OF_STEP * shape.num_parameters // recipe.world_size,
        activations=_activations(recipe, shape),
        logits=_logits(recipe, shape),
        resident=0 if recipe.offload_actor else resting * shape.num_parameters // recipe.world_size,
        engine=engine,
        engine_weights=engine_weights,
        kv_cache=kv_cache,
        cached_tokens=cached_tokens,
        sequences_at_once=cached_tokens // recipe.max_length,
        responses_per_engine=recipe.train_batch_size * recipe.group_size // num_engines,
        updates_per_step=recipe.num_epochs_per_batch * recipe.train_batch_size // recipe.mini_batch_size,
    )


def _activations(recipe: Recipe, shape: ModelShape) -> int:
    """Returns bytes of what a forward pass leaves for the gradient of one micro batch."""
    tokens = recipe.max_tokens_per_gpu
    if recipe.checkpoint_activations:
        # Of the one layer that is computed again at a time; the inputs of all layers stay, in two bytes.
        inside = 8 * shape.hidden_size + 6 * shape.intermediate_size
        return tokens * (2 * shape.hidden_size * shape.num_layers + inside)
    return tokens * shape.num_layers * (22 * shape.hidden_size + 8 * shape.intermediate_size)


def _logits(recipe: Recipe, shape: ModelShape) -> int:
    """Returns bytes of the logits that exist at once: in float32 and their gradient in bfloat16.

    Beside them the gradient of the last layer's weight, while it is summed up.
    """
    last_layer = shape.vocab_size * shape.hidden_size
    if recipe.fused_kernels == "chunked":
        return min(CHUNK, recipe.max_tokens_per_gpu) * shape.vocab_size * (4 + 2) + last_layer * (4 + 4)
    if recipe.fused_kernels == "triton":
        return recipe.max_tokens_per_gpu * TRITON_SPLIT * 2 + last_layer * 2
    # bfloat16 as computed, float32 for the softmax, and its gradient.
    return recipe.max_tokens_per_gpu * shape.vocab_size * (2 + 4 + 4)
