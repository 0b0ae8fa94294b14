"""The vLLM engine: the only place that imports vLLM. On GPUs as it comes, on CPU with settings that work."""

import os
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

from deepscaler.system.errors import UserError
from deepscaler.system.processes import guard
from evaluation.config import EvaluationConfig
from evaluation.requests import Request
from evaluation.samples import Sample

AHEAD = 1 / 16
"""Requests handed to vLLM beside a full batch, as a share of it: vLLM schedules a step before the one before has been
looked at. No more, because other engines cannot draw what waits here."""

NEEDED_CPU_FLAGS = ("avx2", "fma")
"""vLLM's CPU build dies of an illegal instruction without them."""

# Measured on 2 cores with AVX2: chunked prefill crashes with per-request seeds, float32 is 4 to 5 times as fast as
# bfloat16, compilation costs more than it gains.
_CPU_ARGUMENTS: dict[str, Any] = {
    "enforce_eager": True,
    "enable_chunked_prefill": False,
    "max_num_batched_tokens": 4096,
    "block_size": 32,
}
_CPU_MAX_NUM_SEQS = 64
_GPU_MAX_NUM_SEQS = 256

# disable_cascade_attn: wrong results on A100 (vllm issue 22103).
_GPU_ARGUMENTS: dict[str, Any] = {"disable_cascade_attn": True}


def cpu_environment(cores: int, kv_cache_gib: int) -> dict[str, str]:
    """What vLLM's CPU build must find in the environment before it is imported."""
    return {
        "VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib),  # its default asks for 92 % of memory and aborts
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # its default keeps one core back
        "OMP_NUM_THREADS": str(cores),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }


def check_cpu(flags: str) -> None:
    """Raise UserError for a processor that vLLM's CPU build cannot run on; `flags` is a line of /proc/cpuinfo."""
    missing = [name for name in NEEDED_CPU_FLAGS if name not in flags.split()]
    if missing:
        raise UserError(
            f"vLLM's CPU build needs a processor with {' and '.join(NEEDED_CPU_FLAGS)}, this one lacks"
            f" {' and '.join(missing)}: use --engine transformers"
        )


class VllmEngine:
    """vLLM's offline engine, fed request by request so that finished samples come out at once."""

    name = "vllm"

    def __init__(self, config: EvaluationConfig, model: str, context: int) -> None:
        self._config = config
        self._on_gpu = _has_gpu()
        if not self._on_gpu:
            _prepare_cpu()
        os.environ.setdefault("VLLM_HOST_IP", "127.0.0.1")  # an engine's processes are all on one machine
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # set it to INFO to see what vLLM decides
        if config.deterministic and self._on_gpu:
            os.environ["VLLM_BATCH_INVARIANT"] = "1"  # its kernels read it while they are imported
        try:
            from vllm import LLM  # noqa: PLC0415  after the environment is set
        except ImportError as error:
            raise UserError(
                f"vLLM cannot be imported ({error}): install the `eval` extra on a GPU machine or"
                " docker/requirements/cpu.txt on others, or use --engine transformers"
            ) from error
        if config.deterministic and self._on_gpu:
            _check_batch_invariance()
        self._max_num_seqs = config.max_num_seqs or (_GPU_MAX_NUM_SEQS if self._on_gpu else _CPU_MAX_NUM_SEQS)
        if config.deterministic and not self._on_gpu:
            self._max_num_seqs = 1  # vLLM promises nothing about batches on a CPU
        self._arguments = {
            "dtype": config.dtype if self._on_gpu or config.dtype != "auto" else "float32",
            "max_model_len": context,
            "max_num_seqs": self._max_num_seqs,
            "tensor_parallel_size": config.tensor_parallel_size,
            # a prompt that another sample has read already is not computed again, in a pass of another shape
            "enable_prefix_caching": not config.deterministic,
            "use_tqdm_on_load": False,
            "seed": config.seed,
            **(_GPU_ARGUMENTS if self._on_gpu else _CPU_ARGUMENTS),
        }
        if self._on_gpu:
            self._arguments["gpu_memory_utilization"] = config.gpu_memory_utilization
        else:
            self._arguments["max_num_batched_tokens"] = max(context, _CPU_ARGUMENTS["max_num_batched_tokens"])
        revision = None if Path(model).is_dir() else config.revision
        guard()
        self.llm = LLM(model=model, revision=revision, disable_log_stats=True, **self._arguments)
        self._engine = self.llm.llm_engine

    def generate(self, requests: Iterable[Request]) -> Iterator[Sample]:
        """Keep the engine full and yield every sample when it finishes."""
        waiting = iter(requests)
        running: dict[str, tuple[Request, float]] = {}
        while True:
            room = self._max_num_seqs + ceil(AHEAD * self._max_num_seqs) - len(running)
            for request in islice(waiting, room):
                identifier = f"{request.problem_id}#{request.sample}"
                self._engine.add_request(
                    identifier, {"prompt_token_ids": list(request.prompt_token_ids)}, self._sampling(request)
                )
                running[identifier] = request, time.time()
            if not running:
                return
            for output in self._engine.step():
                if output.finished:
                    request, started = running.pop(output.request_id)
                    yield _to_sample(request, output.outputs[0], started)

    def describe(self) -> dict[str, object]:
        """Version, settings and attention backend."""
        import vllm  # noqa: PLC0415

        backend = getattr(self._engine.vllm_config.attention_config, "backend", None)
        return {
            "name": "vllm",
            "version": vllm.__version__,
            "device": "cuda" if self._on_gpu else "cpu",
            "attention": str(backend or "chosen by vLLM"),
            **self._arguments,
            "dtype": str(self._engine.vllm_config.model_config.dtype).removeprefix("torch."),
        }

    def _sampling(self, request: Request) -> Any:
        from vllm import SamplingParams  # noqa: PLC0415
        from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

        return SamplingParams(
            temperature=self._config.temperature,
            top_p=self._config.top_p,
            max_tokens=request.max_tokens,
            seed=request.seed,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )


def _check_batch_invariance() -> None:
    """Raises UserError where vLLM has no batch-invariant kernels; it refuses attention backends without them itself."""
    from vllm.platforms import current_platform  # noqa: PLC0415  asks NVML, not CUDA

    if not current_platform.is_cuda() or not current_platform.has_device_capability(80):
        raise UserError(
            f"--deterministic needs an NVIDIA GPU of compute capability 8.0 or above (A100, H100, ...), this is"
            f" {current_platform.get_device_name()}: leave it out, or add --engine transformers"
        )


def _to_sample(request: Request, completion: Any, started: float) -> Sample:
    return Sample(
        problem_id=request.problem_id,
        sample=request.sample,
        text=completion.text,
        prompt_tokens=len(request.prompt_token_ids),
        response_tokens=len(completion.token_ids),
        finish_reason=completion.finish_reason or "stop",
        seed=request.seed,
        started=started,
        finished=time.time(),
    )


def _has_gpu() -> bool:
    """Asked of NVML: once CUDA itself was asked, it refuses to work in the process that vLLM forks."""
    import torch  # noqa: PLC0415

    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    found = bool(torch.cuda.is_available())
    if found and torch.cuda._device_count_nvml() < 0:  # NVML does not answer, so CUDA was asked (a slice of a GPU)
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    return found


def _prepare_cpu() -> None:
    """Check the processor and set the environment; what the user has set stays."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    if flags := next((line for line in lines if line.startswith("flags")), ""):
        check_cpu(flags)
    memory_gib = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    cores = len(os.sched_getaffinity(0))
    for name, value in cpu_environment(cores, kv_cache_gib=max(1, min(8, memory_gib // 4))).items():
        os.environ.setdefault(name, value)
