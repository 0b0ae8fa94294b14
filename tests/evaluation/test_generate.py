"""What vLLM's CPU build needs is checked and set before it is imported."""

import pytest

from deepscaler.errors import UserError
from evaluation.generate import check_cpu, cpu_environment


def test_a_processor_that_cannot_run_vllm_is_told_what_can() -> None:
    check_cpu("flags\t\t: fpu sse2 fma avx avx2")
    with pytest.raises(UserError, match="this one lacks avx2: use --engine transformers"):
        check_cpu("flags\t\t: fpu sse2 fma avx")


def test_the_engine_stays_in_this_process_and_on_this_machine() -> None:
    environment = cpu_environment(cores=2, kv_cache_gib=1)
    assert environment["OMP_NUM_THREADS"] == "2"
    assert environment["VLLM_HOST_IP"] == "127.0.0.1"
    assert environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
