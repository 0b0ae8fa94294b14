"""Draws with vLLM: on GPUs with its defaults, on CPUs with settings that work. Only this module imports vLLM.

The module drives vLLM's own loop (`add_request` and `step`) instead of calling `LLM.generate`, which returns only when
all are done. So finished samples can be saved at once, and one batch holds all benchmarks.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

from deepscaler.recipes.model_shape import shape_of
from deepscaler.system import compiled, seldom
from deepscaler.system.errors import UserError
from deepscaler.system.processes import guard
from evaluation.config import EvaluationConfig
from evaluation.requests import Request
from evaluation.samples import Sample

AHEAD = 1 / 16
"""Requests handed to vLLM beyond a full batch, as a share of the batch. vLLM schedules a step before it has processed
the previous one, so it needs a few ready. More would keep other engines from drawing them."""

NEEDED_CPU_FLAGS = ("avx2", "fma")
"""Processor features without which vLLM's CPU build dies of an illegal instruction."""

_BLOCK = 32
"""Tokens of a block of the KV cache on a CPU: a sequence takes whole blocks."""

_MOST_KV_CACHE = 8 << 30
"""Bytes of the KV cache on a CPU at most, and where the need is unknown."""

# Measured on 2 cores with AVX2: chunked prefill crashes with per-request seeds, float32 is 4 to 5 times as fast as
# bfloat16, and compilation costs more time than it saves.
_CPU_ARGUMENTS: dict[str, Any] = {
    "enforce_eager": True,
    "enable_chunked_prefill": False,
    "max_num_batched_tokens": 4096,
    "block_size": _BLOCK,
}
_CPU_MAX_NUM_SEQS = 64
_GPU_MAX_NUM_SEQS = 256

# disable_cascade_attn: cascade attention gives wrong results on A100 (vllm issue 22103).
_GPU_ARGUMENTS: dict[str, Any] = {"disable_cascade_attn": True}


def cpu_environment(cores: int, kv_cache_gib: int) -> dict[str, str]:
    """Returns the environment that vLLM's CPU build needs before it is imported."""
    return {
        "VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib),  # the default requests 92 % of memory and aborts
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the default leaves one core unused
        "OMP_NUM_THREADS": str(cores),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }


def check_cpu(flags: str) -> None:
    """Raises UserError for a processor that vLLM's CPU build cannot run on; `flags` is a line of /proc/cpuinfo."""
    missing = [name for name in NEEDED_CPU_FLAGS if name not in flags.split()]
    if missing:
        raise UserError(
            f"vLLM's CPU build needs a processor with {' and '.join(NEEDED_CPU_FLAGS)}, but this one lacks"
            f" {' and '.join(missing)}: use --engine transformers"
        )


class VllmEngine:
    """Feeds vLLM's offline engine request by request, so finished samples come out at once."""

    name = "vllm"

    def __init__(
        self, config: EvaluationConfig, model: str, context: int, beat: Callable[[], None] = lambda: None
    ) -> None:
        self._config, self._beat = config, beat
        self._on_gpu = _has_gpu()
        self._max_num_seqs = config.max_num_seqs or (_GPU_MAX_NUM_SEQS if self._on_gpu else _CPU_MAX_NUM_SEQS)
        if config.deterministic and not self._on_gpu:
            self._max_num_seqs = 1  # vLLM promises nothing about batches on a CPU
        if self._on_gpu:
            compiled.use()
        else:
            _prepare_cpu(_kv_cache_bytes(model, context, self._max_num_seqs))
        os.environ.setdefault("VLLM_HOST_IP", "127.0.0.1")  # all processes of an engine share one machine
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # set it to INFO to see what vLLM decides
        if config.deterministic and self._on_gpu:
            os.environ["VLLM_BATCH_INVARIANT"] = "1"  # vLLM's kernels read it at import
        seldom.postpone()
        try:
            from vllm import LLM  # noqa: PLC0415  after the environment is set
        except ImportError as error:
            raise UserError(
                f"vLLM cannot be imported ({error}): install the `eval` extra on a GPU machine or"
                " docker/requirements/cpu.txt on others, or use --engine transformers"
            ) from error
        if config.deterministic and self._on_gpu:
            _check_batch_invariance()
        if not self._on_gpu:
            from evaluation.engines.cpu_sampling import replace_sampler  # noqa: PLC0415  imports torch

            replace_sampler()
        self._arguments = {
            "dtype": config.dtype if self._on_gpu or config.dtype != "auto" else "float32",
            "max_model_len": context,
            "max_num_seqs": self._max_num_seqs,
            "tensor_parallel_size": config.tensor_parallel_size,
            # With prefix caching, a prompt that another sample has computed is skipped. The pass that remains has
            # another shape, and so another rounding.
            "enable_prefix_caching": not config.deterministic,
            "use_tqdm_on_load": False,
            "seed": config.seed,
            **(_GPU_ARGUMENTS if self._on_gpu else _CPU_ARGUMENTS),
        }
        if self._on_gpu:
            self._arguments["gpu_memory_utilization"] = config.gpu_memory_utilization
        else:
            # Without chunked prefill a prompt has to fit into one batch.
            self._arguments["max_num_batched_tokens"] = max(context, _CPU_ARGUMENTS["max_num_batched_tokens"])
        revision = None if Path(model).is_dir() else config.revision
        # vLLM's engine does not notice that its parent was killed, and prctl's death signal reaches forked processes
        # only, not spawned ones. The guardian kills what is left.
        guard()
        self.llm = LLM(model=model, revision=revision, disable_log_stats=True, **self._arguments)
        self._engine = self.llm.llm_engine

    def generate(self, requests: Iterable[Request]) -> Iterator[Sample]:
        """Yields every sample when it finishes, and keeps the engine full meanwhile."""
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
            outputs = self._engine.step()
            self._beat()
            for output in outputs:
                if output.finished:
                    request, started = running.pop(output.request_id)
                    yield _to_sample(request, output.outputs[0], started)

    def describe(self) -> dict[str, object]:
        """Returns the version, settings and attention backend, for the provenance."""
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
            # By default every step returns each request with its whole text so far.
            output_kind=RequestOutputKind.FINAL_ONLY,
        )


def _check_batch_invariance() -> None:
    """Raises UserError if vLLM has no batch-invariant kernels here; vLLM itself checks the attention backend."""
    from vllm.platforms import current_platform  # noqa: PLC0415  asks NVML, not CUDA

    if not current_platform.is_cuda() or not current_platform.has_device_capability(80):
        raise UserError(
            f"--deterministic needs an NVIDIA GPU of compute capability 8.0 or above (A100, H100, ...), but this is"
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
    """Returns whether there is a GPU, according to NVML."""
    import torch  # noqa: PLC0415

    # vLLM forks its engine, and CUDA refuses to work in a fork of a process that has used it. Even
    # torch.cuda.is_available() counts as use, unless this variable makes it ask NVML.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    found = bool(torch.cuda.is_available())
    if found and torch.cuda._device_count_nvml() < 0:  # NVML failed, as on a slice of a GPU, so CUDA was used
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    return found


def _kv_cache_bytes(model: str, context: int, sequences: int) -> int:
    """Returns how much a full batch needs at most; vLLM fills all that it gets with zeros first."""
    try:
        return 2 * shape_of(model).kv_bytes_per_token * (context + _BLOCK) * sequences  # float32 has twice the bytes
    except UserError:  # another architecture
        return _MOST_KV_CACHE


def _prepare_cpu(kv_cache_bytes: int = _MOST_KV_CACHE) -> None:
    """Checks the processor and sets the environment, except for variables that the user has set."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    if flags := next((line for line in lines if line.startswith("flags")), ""):
        check_cpu(flags)
    memory_gib = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    cores = len(os.sched_getaffinity(0))
    kv_cache_gib = max(1, min(-(-kv_cache_bytes // (1 << 30)), _MOST_KV_CACHE >> 30, memory_gib // 4))
    for name, value in cpu_environment(cores, kv_cache_gib).items():
        os.environ.setdefault(name, value)
