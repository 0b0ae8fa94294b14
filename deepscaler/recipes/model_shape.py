"""Reads a model's sizes from its config.json: its weight, and over how many GPUs its attention can be shared."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepscaler.recipes.recipe import Recipe
from deepscaler.system.errors import UserError
from deepscaler.system.files import reason

MOST_GPUS = 64
"""Largest size that a message counts up to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes of a decoder-only transformer with gated MLPs (Qwen2, Qwen3, Llama)."""

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    vocab_size: int
    tied_embeddings: bool
    attention_bias: bool
    width: int = 0
    """Width of one attention head, if a model gives it (Qwen3); 0 for an equal share of hidden_size."""
    qk_norm: bool = False
    """True if queries and keys are normalized, each with weights of a head's width (Qwen3)."""

    def __post_init__(self) -> None:
        """Raises ValueError for values that are not sizes."""
        for name in ("num_layers", "hidden_size", "intermediate_size", "num_heads", "num_kv_heads", "vocab_size"):
            value = getattr(self, name)
            # config.json comes from anywhere: a text or a negative size would make an estimate of nonsense.
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} {value!r} is not an integer above 0")
        if not isinstance(self.width, int) or self.width < 0:
            raise ValueError(f"head_dim {self.width!r} is not an integer above 0")
        if not self.hidden_size >= self.num_heads >= self.num_kv_heads:
            raise ValueError(f"{self.num_heads} heads for a width of {self.hidden_size}, {self.num_kv_heads} of keys")

    @property
    def head_dim(self) -> int:
        """Returns the width of one attention head."""
        return self.width or self.hidden_size // self.num_heads

    @property
    def num_parameters(self) -> int:
        """Returns the number of parameters, exactly as many as the checkpoint holds."""
        query_size, kv_size = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        attention = 2 * self.hidden_size * (query_size + kv_size)
        bias = query_size + 2 * kv_size if self.attention_bias else 0
        norms = 2 * self.head_dim if self.qk_norm else 0
        layer = attention + bias + norms + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied_embeddings else 2)
        # The last term is the norm before the head.
        return embeddings + self.num_layers * layer + self.hidden_size

    @property
    def num_multiplied(self) -> int:
        """Parameters that a token is multiplied by: all but the table of input embeddings."""
        return self.num_parameters - (0 if self.tied_embeddings else self.vocab_size * self.hidden_size)

    def forward_flops(self, tokens: float) -> float:
        """Returns operations of a forward pass over one sequence: two a parameter and token, and causal attention.

        Queries by keys and scores by values are 2 x 2 x heads x head_dim operations for a pair of tokens, and half of
        the pairs count.
        """
        attention = 2 * self.num_layers * self.num_heads * self.head_dim * tokens**2
        return 2 * self.num_multiplied * tokens + attention

    def heads_divide_by(self, num_gpus: int) -> bool:
        """Returns whether GPUs can share the attention heads, or some GPUs can share one head of keys and values."""
        kv_heads = self.num_kv_heads
        return not self.num_heads % num_gpus and not (kv_heads % num_gpus and num_gpus % kv_heads)

    @property
    def kv_bytes_per_token(self) -> int:
        """Returns the bytes of a token in the bfloat16 cache: keys and values of every layer."""
        return 2 * 2 * self.num_layers * self.num_kv_heads * self.head_dim


def _qwen2(layers: int, hidden: int, inside: int, heads: int, kv_heads: int, **more: Any) -> ModelShape:
    return ModelShape(
        num_layers=layers,
        hidden_size=hidden,
        intermediate_size=inside,
        num_heads=heads,
        num_kv_heads=kv_heads,
        **{"vocab_size": 151_936, "tied_embeddings": False, "attention_bias": True, **more},
    )


def _qwen3(layers: int, hidden: int, inside: int, heads: int) -> ModelShape:
    return _qwen2(layers, hidden, inside, heads, 8, tied_embeddings=True, attention_bias=False, width=128, qk_norm=True)


KNOWN_SHAPES = {
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": _qwen2(28, 1536, 8960, 12, 2),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": _qwen2(28, 3584, 18_944, 28, 4, vocab_size=152_064),
    "Qwen/Qwen2.5-Math-1.5B": _qwen2(28, 1536, 8960, 12, 2, tied_embeddings=True),
    "nvidia/OpenMath-Nemotron-1.5B": _qwen2(28, 1536, 8960, 12, 2, tied_embeddings=True),
    "Qwen/Qwen3-0.6B": _qwen3(28, 1024, 3072, 16),
    "Qwen/Qwen3-1.7B": _qwen3(28, 2048, 6144, 16),
    "Qwen/Qwen3-4B": _qwen3(36, 2560, 9728, 32),
    "HuggingFaceTB/SmolLM2-135M-Instruct": _qwen2(
        30, 576, 1536, 9, 3, vocab_size=49_152, tied_embeddings=True, attention_bias=False
    ),
}
"""Known models that recipes start from, so nothing here needs the hub."""


def shape_of(model: str) -> ModelShape:
    """Returns the shape of a known model, or of a folder's config.json. Raises UserError for anything else."""
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
            # Models without grouped queries leave the key out, or write null.
            num_kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
            vocab_size=config["vocab_size"],
            # As the classes of Qwen2, Qwen3 and Llama have it in transformers 5.10, where the file does not say.
            tied_embeddings=config.get("tie_word_embeddings", False),
            # Qwen2 has biases on queries, keys and values without saying so; Llama and Qwen3 say it.
            attention_bias=config.get("attention_bias", config.get("model_type") == "qwen2"),
            width=config.get("head_dim") or 0,
            # No key says it: the architecture itself has it.
            qk_norm=config.get("model_type") == "qwen3",
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"the shape of {model} is not known: {file} does not give it ({reason(error)})") from error


def check_heads(recipe: Recipe) -> None:
    """Raises UserError if the heads of a recipe's model, if known, cannot be shared as the recipe asks.

    verl (models/transformers/monkey_patch.py) and vLLM (config/model.py) would find it once the job has its GPUs.
    """
    try:
        shape = shape_of(recipe.model)
    except UserError:
        return
    # A sequence may be shared across machines, an engine only within one.
    shared_by = {"sequence_parallel_size": recipe.world_size, "tensor_parallel_size": recipe.gpus_per_node}
    for name, num_gpus in shared_by.items():
        if not shape.heads_divide_by(getattr(recipe, name)):
            most = min(num_gpus, shape.num_heads, MOST_GPUS)
            fit = [str(size) for size in range(1, most + 1) if not num_gpus % size and shape.heads_divide_by(size)]
            raise UserError(
                f"{name} {getattr(recipe, name)} cannot share the {shape.num_heads} attention heads"
                f" ({shape.num_kv_heads} of keys and values) of {recipe.model}; {', '.join(fit)} can"
            )
