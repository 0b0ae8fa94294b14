"""What one evaluation is: every option once, with its default, its flag's help and its check.

EvaluationConfig(model="agentica-org/DeepScaleR-1.5B-Preview", datasets=("aime",), output_dir=Path("out"))
"""

import re
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from deepscaler.data.sources import PUBLISHED_BENCHMARKS, SOURCES
from deepscaler.system.errors import UserError, unknown
from deepscaler.system.toml import read_fields, typed_fields

ENGINES = ("vllm", "transformers")
THINKING = ("auto", "yes", "no")
DEVICES = ("cuda", "cpu")
DTYPES = ("auto", "bfloat16", "float16", "float32")


def _option(help_text: str, default: Any = MISSING, *, result: bool, choices: tuple[str, ...] | None = None) -> Any:
    """A field with its flag's help; `result` marks what changes the samples, so that a folder is bound to it."""
    return field(default=default, metadata={"help": help_text, "result": result, "choices": choices})


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """The published protocol by default: n 16, temperature 0.6, top-p 0.95, 32,768 tokens (DeepScaleR's README)."""

    model: str = _option("hub id or path of the model", result=True)
    output_dir: Path = _option("folder of samples and reports; the same one goes on", result=False)
    datasets: tuple[str, ...] = _option("one or more data sets", PUBLISHED_BENCHMARKS, result=True)
    revision: str = _option("commit, tag or branch of a hub model", "main", result=True)
    num_samples: int = _option("responses per problem, at least 1", 16, result=True)
    temperature: float = _option("0 for greedy, or 0.01 to 10", 0.6, result=True)
    top_p: float = _option("nucleus of the sampling, in (0, 1]", 0.95, result=True)
    max_tokens: int = _option("tokens per response", 32768, result=True)
    seed: int = _option("of the run, 0 to 2^32-1; every sample's own is derived from it", 0, result=True)
    limit: int = _option("only the first N problems of each benchmark; 0 for all", 0, result=True)
    thinking: str = _option(
        "whether responses end their thinking with </think>", "auto", result=False, choices=THINKING
    )
    engine: str = _option("what generates", "vllm", result=True, choices=ENGINES)
    dtype: str = _option("of weights and activations", "auto", result=True, choices=DTYPES)
    tensor_parallel_size: int = _option("GPUs that share one copy of the model", 1, result=False)
    gpu_memory_utilization: float = _option("share of GPU memory for vLLM", 0.9, result=False)
    max_num_seqs: int = _option("sequences in a batch; 0 for the engine's own choice", 0, result=False)
    shard: str = _option("I/N, I from 0: only every N-th problem of each data set, and no report", "", result=True)
    gather: bool = _option("take the samples of all shards in OUTPUT_DIR/shards, then report", False, result=False)
    engines: int = _option(
        "engines that draw at once, on the Ray cluster at RAY_ADDRESS or on this machine; 0 for one in this process",
        0,
        result=False,
    )
    device: str = _option(
        "what each of --engines gets: tensor_parallel_size GPUs, or cores", "cuda", result=False, choices=DEVICES
    )
    data_dir: Path | None = _option("prepared data; default <cache>/data", None, result=False)
    source: Path | None = _option("folder with the benchmarks' JSON files (no download)", None, result=False)

    def __post_init__(self) -> None:
        for name in self.datasets:
            if name not in SOURCES:
                raise unknown("data set", name, SOURCES)
        object.__setattr__(self, "datasets", tuple(dict.fromkeys(self.datasets)))
        checks = {
            "model": bool(self.model.strip()),
            "datasets": bool(self.datasets),
            "num_samples": self.num_samples >= 1,
            "temperature": self.temperature == 0 or 0.01 <= self.temperature <= 10,
            "seed": 0 <= self.seed < 1 << 32,
            "top_p": 0 < self.top_p <= 1,
            "max_tokens": self.max_tokens >= 1,
            "limit": self.limit >= 0,
            "tensor_parallel_size": self.tensor_parallel_size >= 1,
            "gpu_memory_utilization": 0 < self.gpu_memory_utilization <= 1,
            "max_num_seqs": self.max_num_seqs >= 0,
            "engines": self.engines >= 0,
        }
        for name, holds in checks.items():
            if not holds:
                raise UserError(
                    f"{flag(name)} {getattr(self, name)!r} is out of range: {_field(name).metadata['help']}"
                )
        for name in ("thinking", "engine", "dtype", "device"):
            if getattr(self, name) not in _field(name).metadata["choices"]:
                raise unknown(flag(name), getattr(self, name), _field(name).metadata["choices"])
        if self.temperature == 0 and self.num_samples > 1:
            raise UserError(f"--temperature 0 gives {self.num_samples} equal samples: use --num-samples 1")
        if self.shard:
            object.__setattr__(self, "shard", "{}/{}".format(*parse_shard(self.shard)))
        together = [flag(name) for name in ("shard", "gather", "engines") if getattr(self, name)]
        if len(together) > 1:
            raise UserError(f"{' and '.join(together)} exclude each other (--engines shards and gathers by itself)")

    def result_fields(self) -> dict[str, Any]:
        """What the samples depend on, as JSON; a whole evaluation has no `shard`."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self) if f.metadata["result"]}
        if not self.shard:
            del chosen["shard"]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}


def flag(name: str) -> str:
    """`num_samples` -> `--num-samples`."""
    return "--" + name.replace("_", "-")


def parse_shard(shard: str) -> tuple[int, int]:
    """`1/4` -> (1, 4): index and number of shards."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    if not match or int(match[1]) >= int(match[2]):
        raise UserError(f"--shard {shard!r} is no shard: I/N with I from 0 to N-1, such as 0/4")
    return int(match[1]), int(match[2])


def load_config(file: Path | None, given: dict[str, Any]) -> EvaluationConfig:
    """The configuration of a TOML file (if any) with the given values over it."""
    values = read_fields(file, EvaluationConfig) if file else {}
    values.update(given)
    missing = [flag(f.name) for f in fields(EvaluationConfig) if f.default is MISSING and f.name not in values]
    if missing:
        raise UserError(f"{' and '.join(missing)} must be given, as a flag or in --config FILE")
    return EvaluationConfig(**values)


def to_arguments(config: EvaluationConfig) -> list[str]:
    """The arguments of `deepscaler` that give this configuration: the options that are not the default's."""
    arguments = ["evaluate"]
    for option in fields(config):
        value = getattr(config, option.name)
        if option.default is not MISSING and value == option.default:
            continue
        values = value if isinstance(value, tuple) else [] if value is True else [value]
        arguments += [flag(option.name), *map(str, values)]
    return arguments


def _field(name: str) -> Field[Any]:
    return next(f for f in fields(EvaluationConfig) if f.name == name)


def check_stored(values: Any, file: Path) -> dict[str, Any]:
    """The options of a folder's config.json, as they are, if they could have been written by an evaluation."""
    if not isinstance(values, dict):
        raise UserError(f"{file} is no folder's configuration of `deepscaler evaluate`")
    bound = {f.name for f in fields(EvaluationConfig) if f.metadata["result"]} - {"shard"}
    missing = {"weights", *bound} - set(values)
    if missing or values.get("thinking") not in ("yes", "no"):
        lacking = ", ".join(sorted(missing)) or "thinking"
        raise UserError(f"{file} is no configuration of `deepscaler evaluate`: it lacks {lacking}")
    options = typed_fields({name: value for name, value in values.items() if name != "weights"}, EvaluationConfig, file)
    EvaluationConfig(**{**options, "output_dir": file.parent})
    return values


def with_thinking(config: EvaluationConfig, chat_template: str) -> EvaluationConfig:
    """Settle `auto`: a model thinks if its chat template mentions the end of thinking."""
    if config.thinking != "auto":
        return config
    return replace(config, thinking="yes" if "</think>" in chat_template else "no")
