"""verl's FSDP2 engine for the CPU, and the rollout: what verl's `model.external_lib` loads."""

from dataclasses import replace
from functools import partial
from typing import Any

from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from deepscaler.verl_plugin.cpu import rollout
from deepscaler.verl_plugin.cpu.forward import forward

rollout.register()


@EngineRegistry.register(model_type="language_model", backend="fsdp2", device="cpu")
class CpuEngine(FSDPEngineWithLMHead):  # type: ignore[misc]
    """The engine as it is, but with our forward pass, and nothing offloaded: that pins memory, which takes a GPU."""

    def _build_module(self) -> Any:
        module = super()._build_module()
        module.forward = partial(forward, module)
        return module

    def _build_fsdp_module(self, module: Any) -> Any:
        configured: Any = self.engine_config
        self.engine_config: Any = replace(configured, forward_only=False, offload_policy=False)
        try:
            return super()._build_fsdp_module(module)
        finally:
            self.engine_config = configured
