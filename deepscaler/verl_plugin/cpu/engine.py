"""Registers verl's FSDP2 engine for the CPU, and the rollout; verl's `model.external_lib` loads this module."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from deepscaler.models.adapter import add_adapters
from deepscaler.runs.moments import note
from deepscaler.verl_plugin import clipping, memory
from deepscaler.verl_plugin.cpu import rollout
from deepscaler.verl_plugin.cpu.forward import forward

note("weights begin")
clipping.register()
memory.sample_this_node()
rollout.register()


@EngineRegistry.register(model_type="language_model", backend="fsdp2", device="cpu")
class CpuEngine(FSDPEngineWithLMHead):  # type: ignore[misc]
    """The engine as it is, but with our forward pass, and nothing offloaded: that pins memory, which takes a GPU."""

    def _build_module(self) -> Any:
        module = super()._build_module()
        module.forward = partial(forward, module)
        torch.manual_seed(self.engine_config.seed)  # an adapter, which follows, begins with random weights
        return module

    def get_per_tensor_param(self, **given: Any) -> Any:
        """Returns the weights for the rollout, adapters added in float32: verl's own merging rounds to bfloat16."""
        if not self._is_lora:
            return super().get_per_tensor_param(**given)
        state = {name: _whole(value) for name, value in self.module.state_dict().items()}
        return iter(add_adapters(state, self.model_config.lora_alpha / self.model_config.lora_rank).items()), None

    def _build_fsdp_module(self, module: Any) -> Any:
        # verl offloads whatever is forward_only (workers/engine/fsdp/transformer_impl.py), so the reference passes for
        # a trained model while it is wrapped.
        configured: Any = self.engine_config
        self.engine_config: Any = replace(configured, forward_only=False, offload_policy=False)
        try:
            return super()._build_fsdp_module(module)
        finally:
            self.engine_config = configured


def _whole(tensor: Any) -> Any:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
