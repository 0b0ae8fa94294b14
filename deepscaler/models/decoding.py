"""Samples from a transformers model, batch by batch, if vLLM cannot run; evaluations and the CPU rollout use it.

Shared tokens are computed once: first the common prefix of all prompts, then each distinct prompt, then its samples.

layout of a row:  [common prefix][padding][rest of its prompt][response ...]
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch

NUCLEUS_SIZE = 1024
"""Most probable tokens to search for the nucleus first, because sorting a whole vocabulary takes longer than the model.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Describes one response to draw."""

    prompt_token_ids: tuple[int, ...]
    max_tokens: int
    temperature: float
    """Sampling temperature; 0 for greedy."""
    top_p: float
    generator: torch.Generator
    """The response's own generator, so a sample is the same in any batch, apart from rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Holds a response that has ended."""

    index: int
    """Index of its `Draw`."""
    token_ids: list[int]
    log_probs: list[float]
    """Log-probability of each token, before the distribution was cut to the nucleus."""
    finish_reason: str
    """One of `stop`, `length` and `abort`."""


def end_tokens(model: Any) -> set[int]:
    """Returns the token ids that end a response."""
    ends = model.generation_config.eos_token_id
    # From the generation config: chat models end with more tokens than the tokenizer's one (Llama 3, Qwen).
    return set(ends if isinstance(ends, list) else [ends]) - {None}


@torch.inference_mode()  # type: ignore[untyped-decorator]
def draw_batch(
    model: Any, draws: list[Draw], ends: set[int], is_aborted: Callable[[], bool] = lambda: False
) -> Iterator[Drawn]:
    """Yields all responses, drawn in one batch, as soon as each ends; an abort ends all of them where they are."""
    prompts = list(dict.fromkeys(draw.prompt_token_ids for draw in draws))
    cache, mask, logits = _read_prompts(model, prompts)
    rows = torch.tensor([prompts.index(draw.prompt_token_ids) for draw in draws], device=model.device)
    # Rows of one prompt share its pass: the cache is copied once for each sample, and nothing is computed again.
    cache.batch_select_indices(rows)
    mask, logits = mask[rows], logits[rows.cpu()]
    responses: list[tuple[list[int], list[float]]] = [([], []) for _ in draws]
    alive = list(range(len(draws)))
    while alive:
        tokens, log_probs = _choose(logits, [draws[index] for index in alive])
        kept, aborted = [], is_aborted()
        for row, index in enumerate(alive):
            token_ids, kept_log_probs = responses[index]
            token_ids.append(tokens[row])
            kept_log_probs.append(log_probs[row])
            ended, full = tokens[row] in ends, len(token_ids) >= draws[index].max_tokens
            if ended or full or aborted:
                reason = "stop" if ended else "length" if full else "abort"
                yield Drawn(index=index, token_ids=token_ids, log_probs=kept_log_probs, finish_reason=reason)
            else:
                kept.append(row)
        alive = [alive[row] for row in kept]
        if not alive:
            return
        # Ended rows leave the batch: a CPU would compute padding as slowly as tokens.
        if len(kept) < len(mask):
            rows = torch.tensor(kept, device=model.device)
            cache.batch_select_indices(rows)
            mask = mask[rows]
        mask = torch.cat([mask, mask.new_ones((len(alive), 1))], dim=-1)
        step = torch.tensor([[tokens[row]] for row in kept], device=model.device)
        logits = _forward(model, step, mask, cache)


def _read_prompts(model: Any, prompts: list[tuple[int, ...]]) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """Returns the cache, attention mask (prompts, width) and last logits (prompts, vocabulary) of distinct prompts."""
    from transformers import DynamicCache  # noqa: PLC0415

    cache = DynamicCache(config=model.config)
    shared = _num_shared(prompts)
    mask = torch.ones((1, shared), dtype=torch.long, device=model.device)
    if shared:
        _forward(model, torch.tensor([prompts[0][:shared]], device=model.device), mask, cache)
        cache.batch_repeat_interleave(len(prompts))
    width = max(map(len, prompts))
    # Padded on the left, so that the last column holds the last token of every prompt.
    rests = [[0] * (width - len(prompt)) + list(prompt[shared:]) for prompt in prompts]
    masks = [[1] * shared + [0] * (width - len(prompt)) + [1] * (len(prompt) - shared) for prompt in prompts]
    mask = torch.tensor(masks, device=model.device)
    return cache, mask, _forward(model, torch.tensor(rests, device=model.device), mask, cache)


def _num_shared(prompts: list[tuple[int, ...]]) -> int:
    """Returns how many first tokens all prompts share, leaving at least one token of each for the next pass."""
    shortest = min(map(len, prompts))
    alike = (len({prompt[place] for prompt in prompts}) == 1 for place in range(shortest))
    return min(sum(1 for _ in takewhile(bool, alike)), shortest - 1)


def _forward(model: Any, tokens: torch.Tensor, mask: torch.Tensor, cache: Any) -> torch.Tensor:
    """Returns the logits (rows, vocabulary) after the new tokens (rows, new); `mask` covers old and new tokens."""
    # Positions count real tokens only, so padding within a row does not shift the rest of its prompt.
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    output = model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    # On the CPU and in float32: each row's generator lives there, and the same number draws the same token.
    return output.logits[:, -1].float().cpu()


def _choose(logits: torch.Tensor, draws: list[Draw]) -> tuple[list[int], list[float]]:
    """Returns a token id for each row of logits (rows, vocabulary), and its log-probability."""
    # Greedy rows divide by 1, because their log-probabilities are stated, too.
    heat = torch.tensor([draw.temperature or 1.0 for draw in draws]).unsqueeze(-1)
    log_probs = torch.log_softmax(logits / heat, dim=-1)
    tokens = torch.where(heat.new_tensor([draw.temperature == 0 for draw in draws]).bool(), log_probs.argmax(-1), 0)
    for top_p in {draw.top_p for draw in draws if draw.temperature > 0}:
        rows = [row for row, draw in enumerate(draws) if draw.temperature > 0 and draw.top_p == top_p]
        tokens[rows] = _sample(log_probs[rows].exp(), top_p, [draws[row].generator for row in rows])
    return tokens.tolist(), log_probs[range(len(draws)), tokens].tolist()


def _sample(probabilities: torch.Tensor, top_p: float, generators: list[torch.Generator]) -> torch.Tensor:
    """Returns token ids (rows) by inverting the cumulative distribution (rows, vocabulary) at a uniform number."""
    # One number per row from the row's own generator: torch.multinomial would draw for the whole batch at once.
    uniform = torch.stack([torch.rand(1, generator=generator) for generator in generators])
    order = None
    if top_p < 1:
        probabilities, order = _most_probable(probabilities, top_p)
        # The sum before a token decides, so the one that crosses top_p stays, as in vLLM.
        outside = probabilities.cumsum(-1) - probabilities >= top_p
        probabilities = probabilities.masked_fill(outside, 0.0)
    cumulative = probabilities.cumsum(-1)
    # Scaled by the last sum, which rounding leaves beside 1; right=True never chooses a token of probability 0.
    chosen = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True).clamp(max=cumulative.shape[1] - 1)
    return (chosen if order is None else order.gather(-1, chosen)).squeeze(-1)


def _most_probable(probabilities: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the largest probabilities and their token ids, enough to hold the nucleus of every row."""
    size = min(NUCLEUS_SIZE, probabilities.shape[1])
    largest, order = probabilities.topk(size)
    if bool((largest.sum(-1) < top_p).any()):
        largest, order = probabilities.sort(descending=True)
    return largest, order
