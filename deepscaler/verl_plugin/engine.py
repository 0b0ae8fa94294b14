"""Extends verl's FSDP engine for NVIDIA GPUs by the kit's attention, log-probabilities and counts of clipping.

verl's `external_lib` loads it.

actor_rollout_ref.model.external_lib=deepscaler.verl_plugin.engine
"""

from typing import Any

import torch
from verl.utils import torch_functional
from verl.utils.torch_dtypes import PrecisionType
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from deepscaler.runs.moments import note
from deepscaler.verl_plugin import attention, clipping, log_probs, memory

CHUNKED = "chunked"
"""The kit's backend in `fused_kernel_options.impl_backend`; verl leaves a model alone under a name it does not know."""

note("weights begin")
attention.register()
clipping.register()
memory.sample_this_node()
# verl looks the name up in its module at each call (utils/torch_functional.py), so replacing it there is enough.
torch_functional.logprobs_from_logits_v2 = log_probs.log_probs_of_logits


@EngineRegistry.register(model_type="language_model", backend=["fsdp", "fsdp2"], device="cuda", vendor="nvidia")
class GpuEngine(FSDPEngineWithLMHead):  # type: ignore[misc]
    """The engine as it is; verl prefers one that names a vendor to its own, which names none."""

    def _build_module(self) -> Any:
        module = prepare(super()._build_module(), self.model_config, self.engine_config)
        torch.manual_seed(self.engine_config.seed)  # an adapter, which follows, begins with random weights
        return module


def prepare(module: Any, model: Any, engine: Any) -> Any:
    """Makes a model that verl has loaded score tokens without logits, and keeps a reference in 16 bits.

    Its configuration loses the name of the attention, which the model has taken over: verl writes it into each
    checkpoint, and whatever has not registered our attention, as verl's merger, then loads none of them.
    """
    vars(module.config).pop("attn_implementation", None)
    if model.use_fused_kernels:
        backend = (model.fused_kernel_options or {}).get("impl_backend")
        if backend == CHUNKED:
            log_probs.score_tokens(module)
        elif engine.strategy == "fsdp2":
            raise ValueError(
                f"verl's fused kernels ({backend}) multiply with the last layer's weight behind FSDP2's back, which"
                f" fails: set fused_kernels={CHUNKED}, or strategy=fsdp"
            )
    if engine.forward_only:
        _round_parameters(module, engine)
    return module


def _round_parameters(module: Any, engine: Any) -> None:
    """Keeps parameters in the type that the forward pass rounds them to anyway: half the host memory, half the copying.

    verl's own switch for it (`model_dtype`) rounds buffers, too, and with them the frequencies of the rotary embedding:
    positions beyond some hundred would mean others.
    """
    dtype = PrecisionType.to_dtype((engine.mixed_precision or {}).get("param_dtype", "bf16"))
    if dtype != torch.float32:
        for parameter in module.parameters():
            parameter.data = parameter.data.to(dtype)
