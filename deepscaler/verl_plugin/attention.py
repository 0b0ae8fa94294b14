"""Offers torch's own attention for packed sequences under the name by which transformers selects attention.

actor_rollout_ref.model.override_config.attn_implementation=torch_varlen

A packed batch is one row that holds whole sequences one after another; position 0 marks where each begins. torch
carries FlashAttention for it (`varlen_attn`), so nothing has to be compiled. On a CPU, and for float32, which that
kernel does not take, each sequence goes through `scaled_dot_product_attention` by itself: slower, the same numbers.
"""

from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface
from verl.utils import ulysses

from deepscaler.verl_plugin.overrides import ATTENTION

_bounds: tuple[Any, torch.Tensor, list[int]] = (None, torch.empty(0), [])
"""The last position ids and what they say: all layers of a forward pass share them, and looking waits for the GPU."""


def register() -> None:
    """Makes the attention known to transformers, with no mask: positions separate the sequences."""
    AttentionInterface.register(ATTENTION, packed_attention)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    position_ids: torch.Tensor,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Returns causal attention (1, tokens, heads, head_dim) of queries, keys and values (1, heads, tokens, head_dim).

    Under Ulysses each rank holds a slice of the row: heads are traded for tokens before, and tokens for heads after.
    """
    assert attention_mask is None, "a packed batch has no mask"
    assert query.shape[0] == 1, "a packed batch is one row; set use_remove_padding=true"
    assert not dropout, "a trained policy has no dropout"
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    num_ranks = ulysses.get_ulysses_sequence_parallel_world_size()
    if num_ranks > 1:
        repeats = max(1, num_ranks // k.shape[2])  # each rank needs a head of keys and values
        k, v = (x.repeat_interleave(repeats, dim=2) for x in (k, v))
        q, k, v = (ulysses.gather_seq_scatter_heads(x, seq_dim=1, head_dim=2) for x in (q, k, v))
    bounds, lengths = _sequences(position_ids, num_ranks)
    output = _attend(q[0], k[0], v[0], bounds, lengths, scaling, sliding_window)[None]
    if num_ranks > 1:
        output = ulysses.gather_heads_scatter_seq(output, seq_dim=1, head_dim=2)
    return output, None


def _sequences(position_ids: torch.Tensor, num_ranks: int) -> tuple[torch.Tensor, list[int]]:
    """Returns where sequences begin and the last one ends (int32, on the device), and their lengths."""
    global _bounds  # noqa: PLW0603
    # By identity, and the tensor is kept: the address of one that was freed may belong to the next batch's.
    if _bounds[0] is not position_ids:
        flat = position_ids.reshape(-1)
        if num_ranks > 1:
            parts = [torch.empty_like(flat) for _ in range(num_ranks)]
            # Each rank has a slice of the row, and a sequence may continue from one rank's slice into the next one's.
            torch.distributed.all_gather(parts, flat, group=ulysses.get_ulysses_sequence_parallel_group())
            flat = torch.cat(parts)
        starts = (flat == 0).nonzero().flatten().tolist()
        assert starts[:1] == [0], "a packed row begins with a sequence's first token"
        ends = [*starts[1:], len(flat)]
        # FlashAttention takes offsets of 32 bits only.
        bounds = torch.tensor([*starts, len(flat)], dtype=torch.int32, device=flat.device)
        _bounds = (position_ids, bounds, [end - start for start, end in zip(starts, ends, strict=True)])
    return _bounds[1:]


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bounds: torch.Tensor,
    lengths: list[int],
    scaling: float,
    sliding_window: int | None,
) -> torch.Tensor:
    """Returns attention of each sequence within itself; all (tokens, heads, head_dim)."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))  # enable_gqa came with torch 2.12
    if q.is_cuda and q.dtype != torch.float32:
        # transformers counts the token itself among the window's, FlashAttention those before it: hence one less.
        window = (-1 if sliding_window is None else sliding_window - 1, 0)  # nothing to the right: causal
        longest = max(lengths)
        return varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scaling, window_size=window)
    outputs = []
    for rows in zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True):
        mask = None
        if sliding_window is not None:
            distance = torch.arange(len(rows[0]), device=q.device)[:, None] - torch.arange(
                len(rows[0]), device=q.device
            )
            mask = (distance >= 0) & (distance < sliding_window)
        # One at a time: a mask over the whole row would take the square of its tokens.
        one_q, one_k, one_v = (x.transpose(0, 1)[None] for x in rows)
        output = functional.scaled_dot_product_attention(
            one_q, one_k, one_v, attn_mask=mask, is_causal=mask is None, scale=scaling
        )
        outputs.append(output[0].transpose(0, 1))
    return torch.cat(outputs)
