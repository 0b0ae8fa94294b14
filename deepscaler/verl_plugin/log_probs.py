"""Computes log-probabilities and entropies of tokens, with gradients, without ever holding a batch's logits.

scores(hidden, lm_head.weight, labels, temperature=0.6)  ->  (log_probs, entropy), both (tokens,) in float32

A vocabulary of 152 thousand makes the logits of 32,768 tokens 20 GB in float32, of which an update needs several. Here
a chunk of tokens at a time goes through the last layer, and the backward pass computes its logits again: the same sums
in another order, for 4 % more arithmetic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.utils import ModelOutput

from deepscaler.recipes.memory import CHUNK


@dataclass
class TokenScores(ModelOutput):  # type: ignore[misc]
    """Both (rows, length). A ModelOutput, because FSDP looks for tensors to hook in what it knows."""

    log_probs: torch.Tensor | None = None
    entropy: torch.Tensor | None = None


def score_tokens(module: Any) -> None:
    """Makes a causal language model return TokenScores, as verl expects of a model with fused kernels.

    The last layer itself scores, because only a call of it makes FSDP2 gather its weights and reduce their gradient.
    """
    module.lm_head.forward = partial(_score_by_head, module.lm_head)
    module.forward = partial(_forward, module)


def scores(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns each label's log-probability and the entropy of the distribution it was drawn from.

    `hidden` is (..., width), `weight` (vocabulary, width), `labels` and what is returned (...).
    """
    log_probs, entropy = _Scores.apply(hidden, weight, labels, 1.0 / temperature)
    return log_probs, entropy


def log_probs_of_logits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Returns log-probabilities of labels, in float32, where something holds the logits already.

    It stands in for verl's function of the last resort, which loops over the tokens of a packed batch in Python.
    """
    flat, chosen = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)

    def rows(z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return functional.log_softmax(z, dim=-1, dtype=torch.float32).gather(-1, label[:, None])[:, 0]

    parts = zip(flat.split(CHUNK), chosen.split(CHUNK), strict=True)
    return torch.cat([checkpoint(rows, z, label, use_reentrant=False) for z, label in parts]).view(labels.shape)


def _forward(
    module: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    shift_labels: torch.Tensor | None = None,
    temperature: float = 1.0,
    **_: Any,
) -> TokenScores:
    """Returns at each position the log-probability of the token that follows, and the entropy.

    `shift_labels` are the tokens that follow; verl passes them, because a rank of Ulysses holds only a slice.
    """
    if shift_labels is None:
        shift_labels = input_ids.roll(-1, dims=-1)
    output = module.model(
        input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
    )
    log_probs, entropy = module.lm_head(output.last_hidden_state, shift_labels, temperature)
    return TokenScores(log_probs=log_probs, entropy=entropy)


def _score_by_head(
    head: Any, hidden: torch.Tensor, labels: torch.Tensor | None = None, temperature: float = 1.0
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Returns the last layer's logits, or, where it is given labels, their scores."""
    if labels is None:
        return functional.linear(hidden, head.weight, head.bias)
    assert head.bias is None, "no published last layer has a bias"
    return scores(hidden, head.weight, labels, temperature)


class _Scores(torch.autograd.Function):  # type: ignore[misc]
    """Saves what was given and two numbers a token; the logits are computed again."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, chosen = hidden.to(weight.dtype).reshape(-1, hidden.shape[-1]), labels.reshape(-1)
        log_probs, log_sum, entropy = (
            torch.empty(labels.shape, dtype=torch.float32, device=hidden.device) for _ in range(3)
        )
        measure = _compiled(_measure, hidden)
        for part in _parts(len(chosen)):
            measured = measure(_product(rows[part], weight.t()), chosen[part], scale)
            for place, values in zip((log_probs, log_sum, entropy), measured, strict=True):
                place.view(-1)[part] = values
        ctx.save_for_backward(rows, weight, chosen, log_sum.view(-1), entropy.view(-1))
        ctx.scale, ctx.hidden_like = scale, (hidden.shape, hidden.dtype)
        ctx.set_materialize_grads(False)
        return log_probs, entropy

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, labels, log_sum, entropy = ctx.saved_tensors
        of_log_probs, of_entropy = (
            torch.zeros_like(log_sum) if grad is None else grad.float().reshape(-1) for grad in grads
        )
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        differentiate = _compiled(_differentiate, hidden)
        for part in _parts(len(labels)):
            of_logits = differentiate(
                _product(hidden[part], weight.t()),
                labels[part],
                log_sum[part],
                entropy[part],
                of_log_probs[part],
                of_entropy[part],
                ctx.scale,
                hidden.dtype,
            )
            if of_hidden is not None:
                of_hidden[part] = of_logits @ weight
            if of_weight is not None:  # summed in float32: dozens of chunks would each round a bfloat16 sum
                of_weight += _product(of_logits.t(), hidden[part])
        if of_hidden is not None:
            of_hidden = of_hidden.to(ctx.hidden_like[1]).view(ctx.hidden_like[0])
        return of_hidden, None if of_weight is None else of_weight.to(weight.dtype), None, None


def _parts(num_tokens: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, num_tokens)) for start in range(0, num_tokens, CHUNK)]


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Returns the matrix product in float32, without a rounding to the operands' type between."""
    # Autocast would round float32 operands, and the product, to its own type.
    with torch.autocast(left.device.type, enabled=False):
        if left.is_cuda and left.dtype != torch.float32:
            return torch.mm(left, right, out_dtype=torch.float32)
        return torch.mm(left, right).float()


def _measure(
    logits: torch.Tensor, labels: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns log-probabilities of the labels, logarithms of the sums of exponentials, and entropies."""
    z = logits * scale
    log_sum = z.logsumexp(-1)
    # The entropy is log Z - E[z].
    entropy = log_sum - ((z - log_sum[:, None]).exp() * z).sum(-1)
    return z.gather(-1, labels[:, None])[:, 0] - log_sum, log_sum, entropy


def _differentiate(
    logits: torch.Tensor,
    labels: torch.Tensor,
    log_sum: torch.Tensor,
    entropy: torch.Tensor,
    of_log_probs: torch.Tensor,
    of_entropy: torch.Tensor,
    scale: float,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Returns the gradient by the logits, from those by the log-probabilities and by the entropies.

    d log p(label) / dz = 1[label] - p,    d entropy / dz = -p (log p + entropy)
    """
    log_p = logits * scale - log_sum[:, None]
    by_all = log_p.exp() * (of_log_probs[:, None] + of_entropy[:, None] * (log_p + entropy[:, None]))
    is_label = torch.arange(logits.shape[-1], device=logits.device) == labels[:, None]
    return ((is_label * of_log_probs[:, None] - by_all) * scale).to(dtype)


def _compiled(function: Callable[..., Any], like: torch.Tensor) -> Callable[..., Any]:
    """Returns a function as one kernel where there is a GPU: its arithmetic is cheap, its memory traffic is not."""
    return _compile(function) if like.is_cuda else function


@cache
def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled = torch.compile(function)

    def call(logits: torch.Tensor, *others: Any) -> Any:
        for one in (logits, *others):
            if isinstance(one, torch.Tensor):  # the last chunk is shorter; the vocabulary is not
                torch._dynamo.maybe_mark_dynamic(one, 0)
        return compiled(logits, *others)

    return call
