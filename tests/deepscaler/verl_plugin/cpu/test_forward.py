"""The shared prefix changes nothing but the time: same log-probabilities, entropies and gradients."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from deepscaler.verl_plugin.cpu.forward import forward, num_shared

PREFIX = list(range(3, 15))


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2))


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)


def plain(model: Any, rows: list[list[int]], temperature: float) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Each row alone, by the model's own forward pass."""
    log_probs, entropies = [], []
    for row in rows:
        ids = torch.tensor([row])
        distribution = torch.log_softmax(model(input_ids=ids).logits[0, :-1] / temperature, dim=-1)
        log_probs.append(distribution.gather(-1, ids[0, 1:, None]).squeeze(-1))
        entropies.append(-(distribution.exp() * distribution).sum(-1))
    return log_probs, entropies


@pytest.mark.parametrize(
    "rows",
    [
        [[*PREFIX, 20, 21, 22], [*PREFIX, 30], [*PREFIX, 20, 41]],  # some share more than all do
        [[*PREFIX, 20, 21], [*PREFIX, 20, 21]],  # the same rows: one token of each is left
        [[5, 6, 7], [8, 9]],  # nothing shared
        [PREFIX],
    ],
)
def test_values_and_gradients_are_those_of_each_row_alone(model: Any, rows: list[list[int]]) -> None:
    output = forward(model, *padded(rows), temperature=0.7)
    log_probs, entropies = plain(model, rows, 0.7)
    weights = [torch.arange(1.0, len(row)) for row in rows]
    for index, row in enumerate(rows):
        assert torch.allclose(output.log_probs[index, : len(row) - 1], log_probs[index], atol=1e-5)
        assert torch.allclose(output.entropy[index, : len(row) - 1], entropies[index], atol=1e-5)
        assert not output.log_probs[index, len(row) - 1 :].any()
    ours = sum((output.log_probs[i, : len(w)] * w).sum() for i, w in enumerate(weights))
    theirs = sum((log_probs[i] * w).sum() for i, w in enumerate(weights))
    for got, wanted in zip(
        torch.autograd.grad(ours, list(model.parameters())),
        torch.autograd.grad(theirs, list(model.parameters())),
        strict=True,
    ):
        assert torch.allclose(got, wanted, atol=1e-3, rtol=1e-4)


def test_padding_is_never_shared() -> None:
    ids, mask, _ = padded([[*PREFIX, 20, 21], [*PREFIX]])
    assert num_shared(ids, mask) == len(PREFIX) - 1
