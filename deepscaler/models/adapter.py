"""Adds low-rank adapters in a state dict, named as peft does, to the weights they belong to.

base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight       W  (out, in)
base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight   A  (rank, in)
base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight   B  (out, rank)
=> model.layers.0.self_attn.q_proj.weight                                W + scale * B A
"""

from typing import Any

_FIRST, _SECOND = ".lora_A.default.weight", ".lora_B.default.weight"


def has_adapters(state: dict[str, Any]) -> bool:
    """Returns whether a state dict holds adapters beside its weights."""
    return any(name.endswith(_FIRST) for name in state)


def add_adapters(state: dict[str, Any], scale: float) -> dict[str, Any]:
    """Returns all weights in float32 under the model's own names, each plus `scale` times its adapter's product."""
    merged = {}
    for name, weight in state.items():
        if ".lora_" in name:
            continue
        module = name.removesuffix(".weight").removesuffix(".base_layer")
        whole = weight.float()
        if module + _FIRST in state:
            # In float32: an adapter's product is small, and bfloat16 would round it away beside the weight.
            whole = whole + scale * (state[module + _SECOND].float() @ state[module + _FIRST].float())
        merged[name.removeprefix("base_model.model.").replace(".base_layer.", ".")] = whole
    return merged
