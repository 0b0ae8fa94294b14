"""What vLLM's CPU build needs is checked and set before it is imported."""

from pathlib import Path
from typing import Any

import pytest

from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig
from evaluation.engines.vllm import VllmEngine, _has_gpu, check_cpu
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


def test_looking_for_gpus_leaves_cuda_to_the_process_that_vllm_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # noqa: PLC0415

    def forbidden() -> int:
        raise AssertionError("torch marks CUDA as unusable in forked processes once this was called")

    monkeypatch.setattr(torch.cuda, "_is_compiled", lambda: True)
    monkeypatch.setattr(torch.cuda, "_device_count_nvml", lambda: 1)
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", forbidden, raising=False)
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "0")
    assert _has_gpu()
