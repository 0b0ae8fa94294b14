"""What a recipe needs of each GPU, before anything is submitted: products of sizes, no measurement.

Training and the rollout engine take turns on a GPU's memory (the engine sleeps during the update), so each must fit
alone; beside the engine only the actor's weights and optimiser stay, unless they are offloaded. Left out: CUDA's own
gigabyte, fragmentation, NCCL buffers; hence the margin.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from deepscaler.errors import UserError, unknown
from deepscaler.recipe import Recipe

GIB = 1 << 30
MARGIN = 0.9
"""Share of a GPU's memory that an estimate may fill."""

GPUS = {"A100-40GB": 40, "A100-80GB": 80, "H100-80GB": 80}
"""Nominal memory in GB (10^9 bytes)."""

BYTES_OF_STATE = 4 + 4 + 8
"""A parameter in float32, its gradient, and AdamW's two moments (verl's FSDP actor keeps all in float32)."""

BYTES_BETWEEN_UPDATES = 4 + 8
"""The same without the gradient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes of a decoder-only transformer with gated MLPs (Qwen2, Llama)."""

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    vocab_size: int
    tied_embeddings: bool
    attention_bias: bool

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def num_parameters(self) -> int:
        """Exactly as many as the checkpoint holds."""
        kv_size = self.num_kv_heads * self.head_dim
        attention = 2 * self.hidden_size**2 + 2 * self.hidden_size * kv_size
        bias = self.hidden_size + 2 * kv_size if self.attention_bias else 0
        layer = attention + bias + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied_embeddings else 2)
        return embeddings + self.num_layers * layer + self.hidden_size

    @property
    def kv_bytes_per_token(self) -> int:
        """Of the cache in bfloat16: keys and values of every layer."""
        return 2 * 2 * self.num_layers * self.num_kv_heads * self.head_dim


KNOWN_SHAPES = {
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": ModelShape(
        num_layers=28,
        hidden_size=1536,
        intermediate_size=8960,
        num_heads=12,
        num_kv_heads=2,
        vocab_size=151_936,
        tied_embeddings=False,
        attention_bias=True,
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": ModelShape(
        num_layers=30,
        hidden_size=576,
        intermediate_size=1536,
        num_heads=9,
        num_kv_heads=3,
        vocab_size=49_152,
        tied_embeddings=True,
        attention_bias=False,
    ),
}
"""Shapes of the recipes' models, so that an estimate needs no hub."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes on one GPU, and how a batch spreads."""

    gpu: str
    memory: int
    state: int
    """Sharded weights, gradients and optimiser."""
    activations: int
    """Inputs of every layer of one packed micro batch, kept by gradient checkpointing, and one layer's inside."""
    logits: int
    """Of one micro batch: bfloat16, a float32 copy, and its gradient."""
    resident: int
    """What training leaves on the GPU while the rollout engine generates."""
    engine: int
    """The rollout engine's share: `gpu_memory_utilization`."""
    engine_weights: int
    kv_cache: int
    """What the rollout engine has left for keys and values; negative if its weights do not fit."""
    sequences_at_once: int
    """Sequences of full length that fit into the cache of one engine; short ones fit more often."""
    responses_per_engine: int
    updates_per_step: int

    @property
    def training(self) -> int:
        """Peak of an update."""
        return self.state + self.activations + self.logits

    @property
    def warnings(self) -> list[str]:
        """Why the job cannot fit, or will crawl."""
        found = []
        if self.training > MARGIN * self.memory:
            found.append(
                f"an update needs about {self.training / GIB:.0f} GiB, a {self.gpu} has {self.memory / GIB:.0f}:"
                " lower max_tokens_per_gpu (with sequence_parallel_size), or use fused_kernels"
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


def shape_of(model: str) -> ModelShape:
    """The shape of a known model, or of a folder's config.json. Raises UserError for anything else."""
    if model in KNOWN_SHAPES:
        return KNOWN_SHAPES[model]
    file = Path(model) / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        return ModelShape(
            num_layers=config["num_hidden_layers"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_heads=config["num_attention_heads"],
            num_kv_heads=config.get("num_key_value_heads", config["num_attention_heads"]),
            vocab_size=config["vocab_size"],
            tied_embeddings=config.get("tie_word_embeddings", True),
            attention_bias=config.get("attention_bias", config.get("model_type") == "qwen2"),
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"no estimate for {model}: its shape is not known and {file} cannot be read") from error


def estimate(recipe: Recipe, shape: ModelShape, gpu: str) -> Estimate:
    """What one GPU of a kind has to hold for a recipe."""
    if gpu not in GPUS:
        raise unknown("GPU", gpu, GPUS)
    memory = GPUS[gpu] * 10**9
    tokens = recipe.max_tokens_per_gpu
    inside = tokens * (8 * shape.hidden_size + 6 * shape.intermediate_size)
    engine_weights = 2 * shape.num_parameters // recipe.tensor_parallel_size
    engine = int(recipe.gpu_memory_utilization * memory)
    kv_cache = engine - engine_weights
    cached_tokens = kv_cache * recipe.tensor_parallel_size // shape.kv_bytes_per_token
    num_engines = recipe.world_size // recipe.tensor_parallel_size
    return Estimate(
        gpu=gpu,
        memory=memory,
        state=BYTES_OF_STATE * shape.num_parameters // recipe.world_size,
        activations=2 * tokens * shape.hidden_size * shape.num_layers + inside,
        logits=0 if recipe.fused_kernels else tokens * shape.vocab_size * (2 + 4 + 4),
        resident=0 if recipe.offload_actor else BYTES_BETWEEN_UPDATES * shape.num_parameters // recipe.world_size,
        engine=engine,
        engine_weights=engine_weights,
        kv_cache=kv_cache,
        sequences_at_once=max(0, cached_tokens // recipe.max_length),
        responses_per_engine=recipe.train_batch_size * recipe.group_size // num_engines,
        updates_per_step=recipe.num_epochs_per_batch * recipe.train_batch_size // recipe.mini_batch_size,
    )
