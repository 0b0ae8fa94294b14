"""Packed attention is each sequence's own, gradient included, alone and where ranks share a sequence (Ulysses)."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from deepscaler.verl_plugin import attention
from deepscaler.verl_plugin.overrides import ATTENTION
from tests.integration.processes import free_port
from tests.places import ROOT

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
WINDOW = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}
LENGTHS = (5, 17, 1, 8)


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    attention.register()


@pytest.mark.parametrize(
    "config",
    [LlamaConfig(**SIZES), Qwen2Config(**SIZES), Qwen2Config(**SIZES, **WINDOW)],
    ids=["llama", "qwen", "window"],
)
def test_a_packed_row_is_its_sequences_alone(config: Any) -> None:
    torch.manual_seed(0)
    kind = LlamaForCausalLM if isinstance(config, LlamaConfig) else Qwen2ForCausalLM
    model = kind(config).eval()
    rows = [torch.randint(96, (length,)) for length in LENGTHS]
    gradients, outputs = [], []
    for implementation in (ATTENTION, "sdpa"):
        model.set_attn_implementation(implementation)
        model.zero_grad()
        if implementation == "sdpa":
            logits = torch.cat([model(input_ids=row[None]).logits[0] for row in rows])
        else:
            positions = torch.cat([torch.arange(len(row)) for row in rows])
            logits = model(input_ids=torch.cat(rows)[None], position_ids=positions[None]).logits[0]
        (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
        outputs.append(logits.detach())
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert torch.allclose(*outputs, atol=1e-5)
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * (1 + theirs.abs().max())


def test_a_second_batch_is_not_taken_for_the_first() -> None:
    query = torch.randn(1, 1, 6, 8)
    module, settings = None, {"scaling": 1.0}
    whole, halves = torch.arange(6)[None], torch.tensor([[0, 1, 2, 0, 1, 2]])
    first, second, again = (
        attention.packed_attention(module, query, query, query, None, position_ids=positions, **settings)[0]
        for positions in (whole, halves, whole.clone())
    )
    assert not torch.allclose(first, second)
    assert torch.equal(first, again)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("backend", "num_ranks"), [("chunked", 1), ("chunked", 2), ("none", 2)])
def test_verls_engine_packs_and_shares_sequences_right(
    tmp_path: Path, backend: str, num_ranks: int, tied: bool
) -> None:
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=tied)).save_pretrained(tmp_path)
    command = [sys.executable, "-m", "tests.deepscaler.verl_plugin.ranks", str(tmp_path), backend]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(num_ranks),
        "OMP_NUM_THREADS": "1",
    }
    ranks = [
        subprocess.Popen(
            command, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=-1, stderr=-2, text=True
        )
        for rank in range(num_ranks)
    ]
    outputs = [rank.communicate(timeout=200)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * num_ranks, "\n".join(outputs)
