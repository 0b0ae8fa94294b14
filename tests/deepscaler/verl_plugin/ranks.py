"""verl's FSDP2 engine on gloo ranks, one process each, with the kit's attention and log-probabilities.

RANK=0 WORLD_SIZE=2 ... python -m tests.deepscaler.verl_plugin.ranks MODEL chunked

Each rank says whether log-probabilities, entropies and gradients are those of each sequence alone under SDPA.
"""

import os
import sys
from typing import Any

import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM

os.environ |= {"VERL_PLATFORM": "cpu", "VERL_USE_EXTERNAL_MODULES": "deepscaler.verl_plugin.cpu.platform"}

from verl.utils import tensordict_utils
from verl.utils.dataset.dataset_utils import DatasetPadMode
from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from deepscaler.verl_plugin.engine import prepare
from deepscaler.verl_plugin.overrides import ATTENTION

LENGTHS = (5, 17, 1, 8)
TEMPERATURE = 0.7


class PackedEngine(FSDPEngineWithLMHead):  # type: ignore[misc]
    """What the kit makes of verl's engine on GPUs, here."""

    def _build_module(self) -> Any:
        return prepare(super()._build_module(), self.model_config, self.engine_config)


def engine(model: str, backend: str) -> PackedEngine:
    made = PackedEngine(
        HFModelConfig(
            path=model,
            load_tokenizer=False,
            external_lib="deepscaler.verl_plugin.engine",
            override_config={"attn_implementation": ATTENTION},
            use_fused_kernels=backend != "none",
            fused_kernel_options={"impl_backend": backend},
        ),
        FSDPEngineConfig(
            strategy="fsdp2",
            forward_only=False,
            mixed_precision={"param_dtype": "fp32", "reduce_dtype": "fp32"},
            ulysses_sequence_parallel_size=dist.get_world_size(),
            use_torch_compile=False,
        ),
        FSDPOptimizerConfig(lr=1e-3, total_training_steps=1),
        None,
    )
    made._build_model_optimizer()
    return made


def batch(backend: str) -> tuple[list[torch.Tensor], Any]:
    torch.manual_seed(1)
    rows = [torch.randint(3, 90, (length,)) for length in LENGTHS]
    nested = {"input_ids": rows, "position_ids": [torch.arange(len(row)) for row in rows]}
    tensors = {name: torch.nested.as_nested_tensor(parts, layout=torch.jagged) for name, parts in nested.items()}
    settings = {
        "use_remove_padding": True,
        "pad_mode": DatasetPadMode.NO_PADDING,
        "use_fused_kernels": backend != "none",
        "calculate_entropy": True,
        "temperature": TEMPERATURE,
    }
    return rows, tensordict_utils.get_tensordict(tensors, settings)


def loss_of(log_probs: list[torch.Tensor], entropies: list[torch.Tensor]) -> torch.Tensor:
    """Weighs every token differently, and leaves out each sequence's last, which nothing follows."""
    parts = [
        (weight * (x[:-1] + 0.3 * y[:-1])).sum()
        for weight, x, y in zip(
            [torch.linspace(-1, 2, length - 1) for length in LENGTHS], log_probs, entropies, strict=True
        )
    ]
    return torch.stack(parts).sum()


def main(model: str, backend: str) -> None:
    dist.init_process_group("gloo")
    packed, (rows, data) = engine(model, backend), batch(backend)
    assert "attn_implementation" not in packed.module.config.to_dict(), "verl would write it into each checkpoint"
    seen: dict[str, Any] = {}

    def loss(model_output: Any, **_: Any) -> tuple[torch.Tensor, dict[str, Any]]:
        seen.update({name: list(model_output[name].unbind()) for name in ("log_probs", "entropy")})
        return loss_of(seen["log_probs"], seen["entropy"]), {}

    with packed.train_mode():
        total, _ = packed.forward_step(data, loss, forward_only=False)
        total.backward()
        ours = {name: one.grad.full_tensor() for name, one in packed.module.named_parameters()}

    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa")
    log_probs, entropies = [], []
    for row in rows:
        distribution = torch.log_softmax(plain(input_ids=row[None]).logits[0] / TEMPERATURE, dim=-1)
        log_probs.append(distribution.gather(-1, row.roll(-1)[:, None])[:, 0])
        entropies.append(-(distribution.exp() * distribution).sum(-1))
    loss_of(log_probs, entropies).backward()
    worst = 0.0
    for name, theirs in (("log_probs", log_probs), ("entropy", entropies)):
        for one, other in zip(seen[name], theirs, strict=True):
            worst = max(worst, float((one[:-1] - other[:-1]).abs().max()) if len(one) > 1 else 0.0)
    for name, parameter in plain.named_parameters():
        worst = max(worst, float((ours[name] - parameter.grad).abs().max() / (1 + parameter.grad.abs().max())))
    print(f"rank {dist.get_rank()} of {dist.get_world_size()}: largest difference {worst:.1e}")
    assert worst < 1e-5, worst
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
