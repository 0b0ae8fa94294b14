"""What vLLM's CPU build needs is checked and set before it is imported."""

from pathlib import Path
from typing import Any

import pytest

from deepscaler.errors import UserError
from evaluation.config import EvaluationConfig
from evaluation.generate import VllmEngine, check_cpu
from evaluation.generate_transformers import TransformersEngine
from evaluation.requests import Request


def test_a_processor_that_cannot_run_vllm_is_told_what_can() -> None:
    check_cpu("flags\t\t: fpu sse2 fma avx avx2")
    with pytest.raises(UserError, match="this one lacks avx2: use --engine transformers"):
        check_cpu("flags\t\t: fpu sse2 fma avx")


def config(**changed: Any) -> EvaluationConfig:
    return EvaluationConfig(model="m", output_dir=Path("out"), **changed)


def test_vllm_gets_the_samplings_of_the_protocol_and_the_samples_own_seed() -> None:
    engine = VllmEngine.__new__(VllmEngine)
    engine._config = config(temperature=0.6, top_p=0.95)
    request = Request(problem_id="p", sample=3, prompt_token_ids=(1,), max_tokens=77, seed=12)
    sampling = engine._sampling(request)
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.seed) == (0.6, 0.95, 77, 12)


def test_transformers_samples_by_temperature_and_nucleus() -> None:
    import torch  # noqa: PLC0415

    engine = TransformersEngine.__new__(TransformersEngine)
    engine._torch = torch
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])

    def shares(**changed: Any) -> list[float]:
        engine._config = config(**changed)
        generator = torch.Generator().manual_seed(0)
        drawn = [engine._choose(probabilities.log(), generator) for _ in range(4000)]
        return [drawn.count(token) / len(drawn) for token in range(4)]

    assert shares(temperature=1.0, top_p=1.0) == pytest.approx(probabilities.tolist(), abs=0.03)
    assert shares(temperature=1.0, top_p=0.8) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    sharper = (probabilities**2 / (probabilities**2).sum()).tolist()
    assert shares(temperature=0.5, top_p=1.0) == pytest.approx(sharper, abs=0.03)
    assert shares(temperature=0.0, num_samples=1) == [1, 0, 0, 0]
