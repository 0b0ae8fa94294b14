"""Computes a forward pass for training on a CPU; a prefix that all sequences share is computed once, with gradient.

It returns what verl's fused kernels return (log-probabilities and entropies, no logits), so verl takes it for one of
them. Few-shot prompts make three quarters of a short sequence, and a CPU pays for every token.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers.utils import ModelOutput

MIN_SHARED = 8
"""Tokens from which on a pass of their own pays."""

CHUNK = 128
"""Positions whose entropies are computed at once: a temporary over the whole vocabulary costs more than the sum."""


@dataclass
class TokenScores(ModelOutput):  # type: ignore[misc]
    """Both (rows, length). A ModelOutput, because FSDP looks for tensors to hook in what it knows."""

    log_probs: torch.Tensor | None = None
    entropy: torch.Tensor | None = None


def forward(
    module: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    position_ids: torch.Tensor,
    temperature: float = 1.0,
    **_: Any,
) -> TokenScores:
    """Returns at each position the log-probability of the token that follows, and the entropy.

    Rows are padded on the right; at the last token of a row and in the padding both are 0. The entropy has no gradient:
    a recipe for a CPU has no entropy bonus.
    """
    shared = num_shared(input_ids, attention_mask)
    cache, hidden = None, []
    if shared:
        from transformers import DynamicCache  # noqa: PLC0415

        cache = DynamicCache(config=module.config)
        prefix = module.model(input_ids=input_ids[:1, :shared], past_key_values=cache, use_cache=True)
        # The rows share one prefix in the graph, so its gradient is summed over them, as if each had computed its own.
        cache.batch_repeat_interleave(len(input_ids))
        hidden.append(prefix.last_hidden_state.expand(len(input_ids), -1, -1))
    rest = module.model(
        input_ids=input_ids[:, shared:],
        attention_mask=attention_mask,
        position_ids=position_ids[:, shared:],
        past_key_values=cache,
        use_cache=cache is not None,
    )
    hidden.append(rest.last_hidden_state)
    states = torch.cat(hidden, dim=1)[:, :-1]
    followed = attention_mask[:, 1:].bool()
    computed = followed.clone()
    # The last token of the prefix stays: the token that follows it differs by row.
    computed[1:, : max(0, shared - 1)] = False  # the same in every row
    log_probs, entropy = _score(module.lm_head(states[computed]), input_ids[:, 1:][computed], temperature)
    return TokenScores(
        log_probs=_spread(log_probs, computed, shared - 1), entropy=_spread(entropy, computed, shared - 1)
    )


def num_shared(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> int:
    """Tokens that all rows (rows, length) begin with; each row keeps at least one of its own. 0 for too few."""
    # A pass of its own saves nothing for a single row.
    if len(input_ids) == 1:
        return 0
    alike = (input_ids == input_ids[:1]).all(dim=0) & attention_mask.bool().all(dim=0)
    shared = int(alike.long().cumprod(0).sum())
    shared = min(shared, int(attention_mask.sum(-1).min()) - 1)
    return shared if shared >= MIN_SHARED else 0


def _score(logits: torch.Tensor, tokens: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns each token's log-probability (n) by its logits (n, vocabulary), and the entropy (measured only)."""
    log_probs = functional.log_softmax(logits if temperature == 1 else logits / temperature, dim=-1)
    with torch.no_grad():
        entropy = torch.cat([-chunk.exp().mul_(chunk).sum(-1) for chunk in log_probs.split(CHUNK)])
    return log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1), entropy


def _spread(values: torch.Tensor, computed: torch.Tensor, num_alike: int) -> torch.Tensor:
    """Values (n) of the computed positions (rows, length - 1) in their places (rows, length)."""
    placed = values.new_zeros(computed.shape).masked_scatter(computed, values)
    if num_alike > 0:
        placed = torch.cat([placed[:1, :num_alike].expand(len(placed), -1), placed[:, num_alike:]], dim=1)
    return functional.pad(placed, (0, 1))
