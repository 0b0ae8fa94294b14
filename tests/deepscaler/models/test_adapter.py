"""Adapters are added to their weights as peft adds them."""

import warnings
from typing import Any

import pytest
import torch

from deepscaler.models.adapter import add_adapters, has_adapters


@pytest.fixture(scope="module")
def adapted() -> Any:
    """Returns a small model with an adapter on every linear layer that has been trained, so to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that peft imports
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415
        from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2))
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    return model


def test_the_sum_is_pefts(adapted: Any) -> None:
    state = adapted.state_dict()
    assert has_adapters(state)
    merged = add_adapters(state, scale=8 / 4)
    assert not has_adapters(merged)
    wanted = adapted.merge_and_unload().state_dict()
    assert merged.keys() == wanted.keys()
    for name, weight in merged.items():
        torch.testing.assert_close(weight, wanted[name])
