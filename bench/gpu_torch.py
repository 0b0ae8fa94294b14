"""Checks kernels against float32 and measures lower bounds in plain torch: two parts of bench/gpu.py, and its clock."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
TYPE = torch.bfloat16 if GPU else torch.float32
HEADS, KV_HEADS, HEAD_DIM = (12, 2, 128) if GPU else (4, 2, 16)
TOKENS, LONGEST, SEQUENCES = (16_384, 4_096, 16) if GPU else (256, 64, 4)
"""Sequences in a batch; TOKENS is the size of a micro batch, and LONGEST that of a sequence."""
Record = Callable[..., None]
TEMPERATURE = 0.6


def seconds(function: Callable[[], Any], repeats: int = 3) -> float:
    """Returns the median time of a function that has run once before."""
    function()
    return statistics.median(seconds_once(function) for _ in range(repeats))


def seconds_once(function: Callable[[], Any]) -> float:
    """Returns the time of a first call."""
    wait()
    # CUDA only queues what it is given: without waiting before and after, the clock would measure the queueing
    start = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - start


def wait() -> None:
    """Waits until the GPU has finished its work."""
    if GPU:
        torch.cuda.synchronize()


@contextmanager
def peak() -> Iterator[dict[str, float]]:
    """Yields a dict that afterwards holds the most memory (GiB) that torch reserved and allocated meanwhile."""
    found: dict[str, float] = {}
    if GPU:
        torch.cuda.empty_cache()
        # Behind empty_cache, because blocks that torch has cached count as reserved.
        torch.cuda.reset_peak_memory_stats()
    yield found
    if GPU:
        found["reserved_gib"] = torch.cuda.max_memory_reserved() / 2**30
        found["allocated_gib"] = torch.cuda.max_memory_allocated() / 2**30


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Returns the norm of the difference divided by the norm of the reference."""
    ours, theirs = ours.detach().double(), theirs.detach().double()
    return float((ours - theirs).norm() / theirs.norm())


def sizes(model: str) -> tuple[int, int]:
    """Returns the vocabulary size and the width of a model."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model)
    return config.vocab_size, config.hidden_size


def scorers() -> dict[str, Callable[..., tuple[torch.Tensor, torch.Tensor]]]:
    """Returns the functions of the kit and of verl that compute log-probabilities and entropies from hidden states."""
    from verl.utils.experimental.torch_functional import FusedLinearForPPO

    from deepscaler.verl_plugin import log_probs

    found = {"chunked": log_probs.scores, "verl torch": FusedLinearForPPO()}
    if GPU:
        from verl.utils.kernel.linear_cross_entropy import linear_cross_entropy

        found["verl triton"] = lambda hidden, weight, labels, t: linear_cross_entropy(hidden, weight, labels, t, "none")
    return found


def by_logits(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, t: float) -> tuple[torch.Tensor, ...]:
    """Returns log-probabilities and entropies computed plainly, with all logits at once."""
    distribution = torch.log_softmax((hidden @ weight.t()).float() / t, dim=-1)
    return distribution.gather(-1, labels[:, None])[:, 0], -(distribution.exp() * distribution).sum(-1)


def inputs(model: str, tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns hidden states, a last layer and labels with a model's sizes, whose logits spread like trained ones."""
    vocabulary, width = sizes(model)
    torch.manual_seed(tokens)
    hidden = torch.randn(tokens, width, device=DEVICE, dtype=TYPE).requires_grad_()
    weight = (3 * torch.randn(vocabulary, width, device=DEVICE) / width**0.5).to(TYPE).requires_grad_()
    return hidden, weight, torch.randint(vocabulary, (tokens,), device=DEVICE)


def checks(model: str, record: Record) -> None:
    """Compares the GPU's kernels with float32."""
    from deepscaler.verl_plugin import attention

    # TF32 keeps 10 bits of the mantissa, too few for a reference.
    torch.backends.cuda.matmul.allow_tf32 = False
    # One token alone, and lengths that no block of a kernel divides.
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
    """Times attention, the last layer and whole passes in plain torch, without verl."""
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
        # 4 L^2 H D for the two products of a forward pass, halved by the causal mask; a backward pass takes 2.5 times
        # as many.
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
    # An update takes four such products: forward, once more in the backward pass, and one for each of two
    # gradients.
    record("last layer, product alone", forward_ms=1e3 * plain, update_ms=4e3 * plain)
    trials = {name: (function, log_probs.CHUNK) for name, function in scorers().items()}
    trials |= {f"chunked {size}": (trials["chunked"][0], size) for size in ((1024, 4096, 8192) if GPU else (16,))}
    trials["chunked eager"] = trials["chunked"]

    def eager(function: Any, _: Any) -> Any:
        return function

    def differentiate(outputs: tuple[torch.Tensor, ...]) -> None:
        torch.autograd.backward(outputs, [torch.ones_like(one) for one in outputs])

    for name, (function, chunk) in trials.items():
        # the right side is read first, so that `before` is what the kit has
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
    # transformers checkpoints activations in training mode only
    whole.train()
    for checkpointed in (True, False):
        if checkpointed:
            # not reentrant, as verl asks for it
            whole.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        else:
            whole.gradient_checkpointing_disable()
        with peak() as memory:
            took = seconds(update)
        record(f"whole pass, update, checkpointed {checkpointed}", tokens_per_second=TOKENS / took, **memory)
