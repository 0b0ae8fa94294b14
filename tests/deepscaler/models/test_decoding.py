"""Sampling follows the distribution, and what prompts share changes nothing."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from deepscaler.models.decoding import Draw, _choose, draw_batch

PREFIX = tuple(range(3, 12))
PROMPTS = [(*PREFIX, 20, 21), (*PREFIX, 30), (*PREFIX, 20, 21), (*PREFIX, 40, 41, 42)]


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)).eval()


def draw(prompt: tuple[int, ...], seed: int = 0, **changed: Any) -> Draw:
    options = {"max_tokens": 6, "temperature": 1.0, "top_p": 1.0, **changed}
    return Draw(prompt_token_ids=prompt, generator=torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, [0.5, 0.3, 0.15, 0.05]),
        (1.0, 0.8, [0.625, 0.375, 0, 0]),
        (0.5, 1.0, [0.685, 0.247, 0.062, 0.007]),
        (0.0, 1.0, [1, 0, 0, 0]),
    ],
)
def test_tokens_are_drawn_by_temperature_and_nucleus(temperature: float, top_p: float, expected: list[float]) -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    one = draw((1,), temperature=temperature, top_p=top_p)
    drawn = [_choose(logits, [one])[0][0] for _ in range(4000)]
    assert [drawn.count(token) / len(drawn) for token in range(4)] == pytest.approx(expected, abs=0.03)


def test_a_batch_draws_what_each_prompt_alone_would_get(model: Any) -> None:
    batch = [draw(prompt, seed, max_tokens=4 + seed) for seed, prompt in enumerate(PROMPTS)]
    together = {drawn.index: drawn for drawn in draw_batch(model, batch, ends=set())}
    for seed, prompt in enumerate(PROMPTS):
        (alone,) = draw_batch(model, [draw(prompt, seed, max_tokens=4 + seed)], ends=set())
        assert together[seed].token_ids == alone.token_ids
        assert len(alone.token_ids) == 4 + seed
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*prompt, *alone.token_ids]])).logits[0]
        log_probs = torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1)
        wanted = log_probs.gather(-1, torch.tensor(alone.token_ids).unsqueeze(-1)).squeeze(-1)
        assert together[seed].log_probs == pytest.approx(wanted.tolist(), abs=1e-4)


def test_a_response_ends_with_its_end_token(model: Any) -> None:
    (greedy,) = draw_batch(model, [draw(PROMPTS[0], temperature=0.0)], ends=set())
    end = greedy.token_ids[2]
    (ended,) = draw_batch(model, [draw(PROMPTS[0], temperature=0.0)], ends={end})
    assert ended.finish_reason == "stop"
    assert ended.token_ids == greedy.token_ids[: greedy.token_ids.index(end) + 1]
    assert greedy.finish_reason == "length"
