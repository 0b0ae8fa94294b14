"""A small model with an adapter of which every weight counts, as peft makes it."""

import warnings
from typing import Any

import torch

RANK, ALPHA = 4, 8


def adapted_model(deviation: float) -> Any:
    """Returns it with an adapter on every linear layer; `deviation` is that of what peft would start at 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that peft imports
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415
        from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2))
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=deviation)
    return model
