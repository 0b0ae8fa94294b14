"""Measures verl's engine and vLLM alone, each on one batch: two parts of bench/gpu.py.

python bench/gpu_engines.py MODEL OUTPUT     vLLM in a process of its own, which spawns others and so needs a file
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu import record as write
from gpu_torch import GPU, LONGEST, SEQUENCES, TEMPERATURE, TOKENS, Record, peak, seconds, seconds_once, sizes, wait


def engine(model: str, record: Record) -> None:
    """Times verl's FSDP engine on a batch, with the kit's settings and with verl's other ones."""
    import torch.distributed as dist

    dist.init_process_group(
        # as in verl: NCCL does not know the CPU's tensors
        "cpu:gloo,cuda:nccl" if GPU else "gloo",
        init_method="tcp://127.0.0.1:29711",
        rank=0,
        world_size=1,
    )
    lengths = [LONGEST - 13 * n % 97 for n in range(SEQUENCES)]
    wanted = _actor(model, lengths, record)
    data, num_tokens = _batch(model, lengths, TOKENS, fused=True)
    found: dict[str, Any] = {}
    for name, rounded in (("16 bits", True), ("float32, as verl", False)):
        reference = _engine(model, forward_only=True, rounded=rounded)
        with reference.eval_mode():
            first = seconds_once(lambda one=reference: one.infer_batch(data))
            took = seconds(lambda one=reference, name=name: found.__setitem__(name, one.infer_batch(data)), 2)
        record(f"engine, reference, {name}", first_seconds=first, tokens_per_second=num_tokens / took)
    values = [one["model_output"]["log_probs"].values().float() for one in found.values()]
    record("engine, reference, largest difference", difference=float((values[0] - values[1]).abs().max()))
    if GPU:
        other = _engine(model, forward_only=False, strategy="fsdp2")
        with other.eval_mode():
            result = other.infer_batch(data)["model_output"]["log_probs"].values().float().cpu()
        with other.train_mode():
            other.train_batch(data, _loss)
        record("engine, fsdp2, largest difference to fsdp", difference=float((result - wanted).abs().max()))
    dist.destroy_process_group()


def _actor(model: str, lengths: list[int], record: Record) -> torch.Tensor:
    """Times the actor's passes for every way to compute scores, and its memory; returns the log-probabilities."""
    from verl.models.transformers import dense_common

    actor = _engine(model, forward_only=False)
    # FSDP1 wraps the model, FSDP2 changes it in place.
    inner = getattr(actor.module, "_fsdp_wrapped_module", actor.module)
    variants: dict[str, Callable[..., Any] | None] = {"chunked": inner.forward}
    if GPU:
        variants["verl triton"] = partial(dense_common.forward_with_triton_backend, inner)
        variants["verl torch"] = partial(dense_common.forward_with_torch_backend, inner)
    variants["logits"] = partial(type(inner).forward, inner)
    heads = (partial(type(inner.lm_head).forward, inner.lm_head), inner.lm_head.forward)
    seen: dict[str, Any] = {}
    for update in (False, True):  # all log-probabilities before any update changes the weights
        for name, forward in variants.items():
            inner.forward, inner.lm_head.forward = forward, heads[name == "chunked"]
            data, num_tokens = _batch(model, lengths, TOKENS, name != "logits")
            if update:
                with actor.train_mode(), peak() as memory:
                    took = seconds(lambda data=data: actor.train_batch(data, _loss), 1)
                record(f"engine, update, {name}", tokens_per_second=num_tokens / took, **memory)
                continue
            with actor.eval_mode(), peak() as memory:
                first = seconds_once(lambda data=data: actor.infer_batch(data))
                took = seconds(lambda data=data: seen.__setitem__("scores", actor.infer_batch(data)), 2)
            result = seen["scores"]["model_output"]["log_probs"].values().float().cpu()
            seen.setdefault("wanted", result)
            record(
                f"engine, log-probabilities, {name}",
                first_seconds=first,
                tokens_per_second=num_tokens / took,
                difference_to_chunked=float((result - seen["wanted"]).abs().max()),
                mean_difference=float((result - seen["wanted"]).abs().mean()),
                **memory,
            )
    inner.forward, inner.lm_head.forward = variants["chunked"], heads[1]
    _memory(model, actor, inner, record)
    wanted: torch.Tensor = seen["wanted"]
    return wanted


def _memory(model: str, actor: Any, inner: Any, record: Record) -> None:
    """Measures the memory of an update with one micro batch of recipe 8k's size, beside the estimate."""
    from deepscaler.recipes.memory import GIB, estimate
    from deepscaler.recipes.model_shape import shape_of
    from deepscaler.recipes.published import RECIPES

    recipe = replace(RECIPES["8k"], gpus_per_node=1, max_tokens_per_gpu=32_768)
    estimated = estimate(recipe, shape_of(model), "A100-80GB")
    longest = recipe.max_tokens_per_gpu // 4 if GPU else 32
    data, _ = _batch(model, [longest] * 4, recipe.max_tokens_per_gpu, fused=True)
    with actor.train_mode(), peak() as memory:
        actor.train_batch(data, _loss)
        wait()
    parts = {name: getattr(estimated, name) / GIB for name in ("state", "activations", "logits", "training")}
    record("memory of an update, 1 x 32,768 tokens", **memory, **{f"estimated_{k}_gib": v for k, v in parts.items()})


def _engine(model: str, *, forward_only: bool, rounded: bool = True, strategy: str = "") -> Any:
    """Returns verl's engine for one rank: the kit's on a GPU, and on a CPU one that works without a GPU."""
    from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig
    from verl.workers.engine import EngineRegistry

    from deepscaler.verl_plugin import engine as plugin
    from deepscaler.verl_plugin.overrides import ATTENTION

    strategy = strategy or ("fsdp" if GPU else "fsdp2")
    if GPU:
        kind = EngineRegistry.get_engine_cls("language_model", strategy)
        assert kind is plugin.GpuEngine, kind
    else:
        kind = type("Engine", (plugin.GpuEngine,), {"_build_fsdp_module": _without_offload(plugin.GpuEngine)})
    precision = {} if GPU else {"mixed_precision": {"param_dtype": "fp32", "reduce_dtype": "fp32"}}
    made = kind(
        HFModelConfig(
            path=model,
            override_config={"attn_implementation": ATTENTION},
            use_fused_kernels=True,
            fused_kernel_options={"impl_backend": plugin.CHUNKED},
        ),
        FSDPEngineConfig(strategy=strategy, forward_only=forward_only, use_torch_compile=GPU, **precision),
        FSDPOptimizerConfig(lr=1e-6, total_training_steps=100),
        None,
    )
    # The kit rounds the reference to 16 bits when it is built; verl leaves it in float32.
    keep = plugin._round_parameters
    if not rounded:
        plugin._round_parameters = lambda *_: None
    made._build_model_optimizer()
    plugin._round_parameters = keep
    return made


def _without_offload(base: Any) -> Any:
    """Returns a method that builds a reference without offloading, because pinned memory needs a GPU."""

    def build(self: Any, module: Any) -> Any:
        configured = self.engine_config
        self.engine_config = replace(configured, forward_only=False)
        try:
            return base._build_fsdp_module(self, module)
        finally:
            self.engine_config = configured

    return build


def _batch(model: str, lengths: list[int], budget: int, fused: bool) -> tuple[Any, int]:
    """Returns sequences in the form that verl passes to its engine, and their number of tokens."""
    from verl.utils import tensordict_utils
    from verl.utils.dataset.dataset_utils import DatasetPadMode

    # the same tokens in every call, since the log-probabilities of the variants are compared
    torch.manual_seed(1)
    rows = [torch.randint(3, sizes(model)[0], (length,)) for length in lengths]
    nested = {
        "input_ids": rows,
        "position_ids": [torch.arange(len(row)) for row in rows],
        "loss_mask": [torch.ones(len(row), dtype=torch.long) for row in rows],
    }
    tensors = {name: torch.nested.as_nested_tensor(parts, layout=torch.jagged) for name, parts in nested.items()}
    settings = {
        "use_remove_padding": True,
        "pad_mode": DatasetPadMode.NO_PADDING,
        "use_fused_kernels": fused,
        "calculate_entropy": True,
        "temperature": TEMPERATURE,
        "use_dynamic_bsz": True,
        "max_token_len_per_gpu": budget,
    }
    return tensordict_utils.get_tensordict(tensors, settings), sum(lengths)


def _loss(model_output: Any, data: Any, **_: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    log_probs, entropy = (model_output[name].values() for name in ("log_probs", "entropy"))
    weights = torch.full_like(log_probs, 1 / data["batch_num_tokens"])  # verl's kernel requires contiguous gradients
    return -((log_probs + 1e-3 * entropy.float()) * weights).sum(), {}


def generate(model: str, record: Record) -> None:
    """Times vLLM alone: its start, and its tokens per second for several numbers of sequences."""
    from vllm import LLM, SamplingParams

    begin = time.perf_counter()
    at_once = (64, 128, 256) if GPU else (4,)
    options: dict[str, Any] = {"enforce_eager": True, "dtype": "float32", "max_num_batched_tokens": 4096}
    options["gpu_memory_utilization"] = 0.3  # a share of the machine's memory, other processes included
    if GPU:
        graphs = [1, 2, 4, *range(8, at_once[-1] + 8, 8)]
        options = {
            "enable_sleep_mode": True,
            "gpu_memory_utilization": 0.5,
            "compilation_config": {"cudagraph_mode": "FULL_AND_PIECEWISE", "cudagraph_capture_sizes": graphs},
        }
    llm = LLM(model=model, max_model_len=5120 if GPU else 512, max_num_seqs=512, seed=0, **options)
    record(
        "vLLM, start", seconds=time.perf_counter() - begin, cache=os.environ.get("VLLM_DISABLE_COMPILE_CACHE", "unset")
    )
    if os.environ.get("BENCH_START_ONLY"):
        return
    length = 512 if GPU else 8
    for number in at_once:
        prompts: Any = [{"prompt_token_ids": list(range(10, 110))} for _ in range(number)]
        # ignore_eos makes every sequence of one length, so that the tokens are known; logprobs=0 asks for the
        # log-probability of the drawn token alone, as a training does.
        sampling = SamplingParams(temperature=TEMPERATURE, max_tokens=length, ignore_eos=True, logprobs=0)
        took = seconds_once(lambda given=prompts, how=sampling: llm.generate(given, how, use_tqdm=False))
        record(f"vLLM, {number} sequences of {length}", tokens_per_second=number * length / took)


if __name__ == "__main__":
    generate(sys.argv[1], partial(write, Path(sys.argv[2]), "vllm"))
