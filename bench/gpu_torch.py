"""The parts of bench/gpu.py that need torch and verl's engine alone: checks, floors, and verl's passes over a batch."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
TYPE = torch.bfloat16 if GPU else torch.float32
HEADS, KV_HEADS, HEAD_DIM = (12, 2, 128) if GPU else (4, 2, 16)
TOKENS, LONGEST, SEQUENCES = (16_384, 4_096, 16) if GPU else (256, 64, 4)
"""A micro batch, a sequence, and sequences of a batch."""
Record = Callable[..., None]
TEMPERATURE = 0.6


def seconds(function: Callable[[], Any], repeats: int = 3) -> float:
    """Returns the median time of a function that has run once before."""
    function()
    measured = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        function()
        wait()
        measured.append(time.perf_counter() - start)
    return statistics.median(measured)


def wait() -> None:
    """Waits until the GPU has done what it was given."""
    if GPU:
        torch.cuda.synchronize()


@contextmanager
def peak() -> Iterator[dict[str, float]]:
    """Gives the most memory (GiB) that torch had reserved and allocated meanwhile."""
    found: dict[str, float] = {}
    if GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield found
    if GPU:
        found["reserved_gib"] = torch.cuda.max_memory_reserved() / 2**30
        found["allocated_gib"] = torch.cuda.max_memory_allocated() / 2**30


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Returns the norm of the difference by the norm of the reference."""
    ours, theirs = ours.detach().double(), theirs.detach().double()
    return float((ours - theirs).norm() / theirs.norm())


def sizes(model: str) -> tuple[int, int]:
    """Returns words of the vocabulary and the width of a model."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model)
    return config.vocab_size, config.hidden_size


def scorers() -> dict[str, Callable[..., tuple[torch.Tensor, torch.Tensor]]]:
    """Returns ways from hidden states to log-probabilities and entropies, the kit's and verl's."""
    from verl.utils.experimental.torch_functional import FusedLinearForPPO

    from deepscaler.verl_plugin import log_probs

    found = {"chunked": log_probs.scores, "verl torch": FusedLinearForPPO()}
    if GPU:
        from verl.utils.kernel.linear_cross_entropy import linear_cross_entropy

        found["verl triton"] = lambda hidden, weight, labels, t: linear_cross_entropy(hidden, weight, labels, t, "none")
    return found


def by_logits(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, t: float) -> tuple[torch.Tensor, ...]:
    """Returns them the plain way: all logits at once."""
    distribution = torch.log_softmax((hidden @ weight.t()).float() / t, dim=-1)
    return distribution.gather(-1, labels[:, None])[:, 0], -(distribution.exp() * distribution).sum(-1)


def inputs(model: str, tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns hidden states, a last layer and labels of a model's sizes: logits of a spread that trained ones have."""
    vocabulary, width = sizes(model)
    torch.manual_seed(tokens)
    hidden = torch.randn(tokens, width, device=DEVICE, dtype=TYPE).requires_grad_()
    weight = (3 * torch.randn(vocabulary, width, device=DEVICE) / width**0.5).to(TYPE).requires_grad_()
    return hidden, weight, torch.randint(vocabulary, (tokens,), device=DEVICE)


def checks(model: str, record: Record) -> None:
    """What only a GPU shows: its kernels against float32."""
    from deepscaler.verl_plugin import attention

    torch.backends.cuda.matmul.allow_tf32 = False
    lengths = (5, 1000, 333, 1, 709)
    positions = torch.cat([torch.arange(length, device=DEVICE) for length in lengths])[None]
    for window in (None, 100):
        torch.manual_seed(0)
        shapes = [(1, heads, sum(lengths), HEAD_DIM) for heads in (HEADS, KV_HEADS, KV_HEADS)]
        values = [torch.randn(shape, device=DEVICE, dtype=TYPE) for shape in shapes]
        results = []
        for dtype in (TYPE, torch.float32):
            given = [value.detach().to(dtype).requires_grad_() for value in values]
            output, _ = attention.packed_attention(
                None, *given, None, scaling=HEAD_DIM**-0.5, position_ids=positions.clone(), sliding_window=window
            )
            output.square().sum().backward()
            results.append([output, *(one.grad for one in given)])
        worst = max(distance(*pair) for pair in zip(*results, strict=True))
        record(f"attention against float32, window {window}", relative_error=worst, right=worst < 1e-2)

    hidden, weight, labels = inputs(model, 2048 if GPU else 64)
    coefficients = torch.randn(2, len(labels), device=DEVICE)

    def everything(function: Any, *given: torch.Tensor) -> list[torch.Tensor]:
        leaves = [one.detach().requires_grad_() for one in given]
        log_probs, entropy = function(*leaves, labels, TEMPERATURE)
        loss = (log_probs * coefficients[0]).sum() + (entropy * coefficients[1]).sum()
        return [log_probs, entropy, *torch.autograd.grad(loss, leaves)]

    names = ("log_probs", "entropy", "of_hidden", "of_weight")
    wanted = everything(by_logits, hidden.float(), weight.float())
    for name, function in {**scorers(), "logits": by_logits}.items():
        errors = [distance(*pair) for pair in zip(everything(function, hidden, weight), wanted, strict=True)]
        record(f"scores against float32, {name}", **dict(zip(names, errors, strict=True)), right=max(errors) < 2e-2)
    exact = everything(scorers()["chunked"], hidden.float(), weight.float())
    worst = max(distance(*pair) for pair in zip(exact, wanted, strict=True))
    record("scores in float32", relative_error=worst, right=worst < 1e-5)


def floors(model: str, record: Record) -> None:
    """Plain torch: attention, the last layer, and whole passes without verl."""
    from deepscaler.verl_plugin import attention

    for sequences in (TOKENS // LONGEST, 1):
        length = TOKENS // sequences
        shape = (1, HEADS, TOKENS, HEAD_DIM)
        q, k, v = (torch.randn(shape, device=DEVICE, dtype=TYPE, requires_grad=True) for _ in range(3))
        positions = torch.arange(length, device=DEVICE).repeat(sequences)[None]
        attend = partial(attention.packed_attention, None, q, k, v, None, scaling=1.0, position_ids=positions)
        forward = seconds(attend)
        ones = torch.ones(1, TOKENS, HEADS, HEAD_DIM, device=DEVICE, dtype=TYPE)
        both = seconds(lambda run=attend, ones=ones: run()[0].backward(ones))
        flops = 2 * sequences * length**2 * HEADS * HEAD_DIM
        record(
            f"attention, {sequences} x {length}",
            forward_tflops=flops / forward / 1e12,
            both_tflops=3.5 * flops / both / 1e12,
        )
    _last_layer(model, record)
    _whole_passes(model, record)


def _last_layer(model: str, record: Record) -> None:
    from deepscaler.verl_plugin import log_probs

    hidden, weight, labels = inputs(model, TOKENS)
    plain = seconds(lambda: hidden.detach() @ weight.detach().t())
    record("last layer, product alone", forward_ms=1e3 * plain, update_ms=4e3 * plain)
    trials = {name: (function, log_probs.CHUNK) for name, function in scorers().items()}
    trials |= {f"chunked {size}": (trials["chunked"][0], size) for size in ((1024, 4096, 8192) if GPU else (16,))}
    trials["chunked eager"] = trials["chunked"]

    def eager(function: Any, _: Any) -> Any:
        return function

    def differentiate(outputs: tuple[torch.Tensor, ...]) -> None:
        torch.autograd.backward(outputs, [torch.ones_like(one) for one in outputs])

    for name, (function, chunk) in trials.items():
        log_probs.CHUNK, before = chunk, log_probs.CHUNK
        compiled, log_probs._compiled = log_probs._compiled, (eager if "eager" in name else log_probs._compiled)
        run = partial(function, hidden, weight, labels, TEMPERATURE)
        first = seconds_once(lambda run=run: differentiate(run()))
        with peak() as memory, torch.no_grad():
            forward = seconds(run)
        with peak() as memory:
            both = seconds(lambda run=run: differentiate(run()))
        log_probs.CHUNK, log_probs._compiled = before, compiled
        record(f"last layer, {name}", first_seconds=first, forward_ms=1e3 * forward, update_ms=1e3 * both, **memory)


def _whole_passes(model: str, record: Record) -> None:
    from transformers import AutoModelForCausalLM

    from deepscaler.verl_plugin import attention, log_probs
    from deepscaler.verl_plugin.overrides import ATTENTION

    attention.register()
    whole = AutoModelForCausalLM.from_pretrained(model, dtype=TYPE, attn_implementation=ATTENTION).to(DEVICE)
    log_probs.score_tokens(whole)
    ids = torch.randint(sizes(model)[0], (1, TOKENS), device=DEVICE)
    positions = torch.arange(LONGEST, device=DEVICE).repeat(TOKENS // LONGEST)[None]
    run = partial(whole, input_ids=ids, position_ids=positions, temperature=TEMPERATURE)

    def update() -> None:
        scores = run()
        (scores.log_probs.mean() + 1e-3 * scores.entropy.mean()).backward()

    with torch.no_grad():
        record("whole pass, log-probabilities", tokens_per_second=TOKENS / seconds(run))
    whole.train()
    for checkpointed in (True, False):
        if checkpointed:
            whole.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        else:
            whole.gradient_checkpointing_disable()
        with peak() as memory:
            took = seconds(update)
        record(f"whole pass, update, checkpointed {checkpointed}", tokens_per_second=TOKENS / took, **memory)


def engine(model: str, record: Record) -> None:
    """Verl's FSDP engine over a batch, as the kit sets it and in verl's other ways."""
    import torch.distributed as dist

    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if GPU else "gloo", init_method="tcp://127.0.0.1:29711", rank=0, world_size=1
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
    """Times the actor's passes by every way to its scores, and its memory; returns the log-probabilities."""
    from verl.models.transformers import dense_common

    actor = _engine(model, forward_only=False)
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


def seconds_once(function: Callable[[], Any]) -> float:
    """Returns the time of a first call."""
    wait()
    start = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - start


def _memory(model: str, actor: Any, inner: Any, record: Record) -> None:
    """An update of one micro batch of recipe 8k's size on one GPU, beside the estimate."""
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
    """Returns verl's engine for one rank, the kit's on a GPU, and on a CPU what the kit makes of it."""
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
    keep = plugin._round_parameters
    if not rounded:
        plugin._round_parameters = lambda *_: None
    made._build_model_optimizer()
    plugin._round_parameters = keep
    return made


def _without_offload(base: Any) -> Any:
    """Returns the building of a reference without what pins memory, which takes a GPU."""

    def build(self: Any, module: Any) -> Any:
        configured = self.engine_config
        self.engine_config = replace(configured, forward_only=False)
        try:
            return base._build_fsdp_module(self, module)
        finally:
            self.engine_config = configured

    return build


def _batch(model: str, lengths: list[int], budget: int, fused: bool) -> tuple[Any, int]:
    """Returns sequences as verl hands them to its engine, and how many tokens they have."""
    from verl.utils import tensordict_utils
    from verl.utils.dataset.dataset_utils import DatasetPadMode

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
    weights = torch.full_like(log_probs, 1 / data["batch_num_tokens"])  # verl's kernel wants gradients without strides
    return -((log_probs + 1e-3 * entropy.float()) * weights).sum(), {}


def vllm_engine(model: str, record: Record) -> None:
    """VLLM alone: its start, and tokens per second by the number of sequences."""
    from vllm import LLM, SamplingParams

    begin = time.perf_counter()
    at_once = (64, 128, 256) if GPU else (4,)
    options: dict[str, Any] = {"enforce_eager": True, "dtype": "float32", "max_num_batched_tokens": 4096}
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
        sampling = SamplingParams(temperature=TEMPERATURE, max_tokens=length, ignore_eos=True, logprobs=0)
        took = seconds_once(lambda given=prompts, how=sampling: llm.generate(given, how, use_tqdm=False))
        record(f"vLLM, {number} sequences of {length}", tokens_per_second=number * length / took)
