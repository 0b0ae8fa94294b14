"""Declares the options of one evaluation. Each is declared once, with its default, its flag's help and its range.

EvaluationConfig(model="agentica-org/DeepScaleR-1.5B-Preview", datasets=("aime",), output_dir=Path("out"))
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from deepscaler.data.names import absolute, check_name, labels
from deepscaler.data.problem import PLACE
from deepscaler.data.sources import PUBLISHED_BENCHMARKS
from deepscaler.recipes.recipe import Device
from deepscaler.system.errors import UserError
from deepscaler.system.flags import to_flags
from deepscaler.system.option import flag, shown_value
from deepscaler.system.options import REQUIRED, check_options, option, options_of
from evaluation.endpoint_options import OF_AN_ENDPOINT, check_endpoint
from evaluation.protocols import PROTOCOLS, SAMPLING, ProtocolName, Thinking

EngineName = Literal["vllm", "transformers", "openai"]
Api = Literal["chat", "completions"]
Dtype = Literal["auto", "bfloat16", "float16", "float32"]

OWN: Any = None
"""Marks an option whose default comes from the protocol; a configuration holds the protocol's value instead."""

BASE = 8
"""Samples of each problem that `--until` draws first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """Holds one evaluation's options. The protocol, DeepScaleR's by default, sets those that are not given.

    An option with `result` changes the samples, so a folder is bound to its value.
    """

    model: str = option(REQUIRED, "hub id or path of the model", section="what", metavar="MODEL", result=True)
    output_dir: Path = option(
        REQUIRED, "folder of samples and reports; the same command resumes there", section="what", metavar="DIR"
    )
    datasets: tuple[str, ...] = option(
        PUBLISHED_BENCHMARKS, "benchmarks, files of your own or hub:ORG/NAME", section="what", result=True
    )
    revision: str = option("main", "commit, tag or branch of a hub model", section="what", metavar="REV", result=True)
    limit: int = option(
        0, "use only the first N problems of each benchmark; 0 for all", at_least=0, section="what", result=True
    )
    data_dir: Path | None = option(None, "folder with prepared data; default: the cache", section="what", metavar="DIR")
    source: Path | None = option(
        None, "folder with the benchmarks' JSON files (no download)", section="what", metavar="DIR"
    )
    protocol: ProtocolName = option(
        "deepscaler",
        "published evaluation protocol; it sets every option of this section that you do not give",
        section="sampling",
        result=True,
    )
    num_samples: int = option(
        0,
        "responses per problem; 0 for the protocol's number, which may differ between benchmarks",
        at_least=1,
        or_zero=True,
        section="sampling",
        result=True,
    )
    until: float = option(
        0.0,
        "stop sampling a benchmark once its sampling error (95 % half width, on these problems) is this many points",
        above=0,
        at_most=50,
        or_zero=True,
        section="sampling",
        metavar="POINTS",
        result=True,
    )
    temperature: float = option(
        OWN,
        "sampling temperature; 0 for greedy (default: the protocol's)",
        at_least=0.01,
        at_most=10,
        or_zero=True,
        section="sampling",
        result=True,
    )
    top_p: float = option(
        OWN, "top-p of nucleus sampling (default: the protocol's)", above=0, at_most=1, section="sampling", result=True
    )
    max_tokens: int = option(
        OWN, "most tokens per response (default: the protocol's)", at_least=1, section="sampling", result=True
    )
    prompt: str = option(
        OWN,
        f"prompt template, with {PLACE} in place of the problem (default: the protocol's)",
        section="sampling",
        result=True,
    )
    seed: int = option(
        0,
        "seed of the run; every sample derives its own from it",
        at_least=0,
        at_most=2**32 - 1,
        section="sampling",
        result=True,
    )
    thinking: Thinking = option(
        OWN,
        "count only the boxes after </think>; auto decides from the chat template (default: the protocol's)",
        section="sampling",
    )
    engine: EngineName = option("vllm", "inference engine that draws the samples", section="engine", result=True)
    dtype: Dtype = option("auto", "data type of weights and activations", section="engine", result=True)
    deterministic: bool = option(
        False,
        "draw the same tokens in any batch: vLLM's batch invariance on GPUs, one sequence at a time elsewhere",
        section="engine",
        result=True,
    )
    tensor_parallel_size: int = option(1, "GPUs that share one copy of the model", at_least=1, section="engine")
    gpu_memory_utilization: float = option(0.9, "share of GPU memory for vLLM", above=0, at_most=1, section="engine")
    max_num_seqs: int = option(0, "most sequences in a batch; 0 for the engine's choice", at_least=0, section="engine")
    base_url: str = option(
        "",
        "URL of the server, such as http://localhost:8000/v1",
        section="endpoint (--engine openai)",
        metavar="URL",
        result=True,
    )
    api: Api = option(
        "chat",
        "API to use: `chat` sends messages, `completions` sends the token ids that a local engine gets",
        section="endpoint (--engine openai)",
        result=True,
    )
    tokenizer: str = option(
        "",
        "folder or hub id of the tokenizer for --api completions; default: --model",
        section="endpoint (--engine openai)",
        metavar="MODEL",
    )
    api_key_env: str = option(
        "",
        "environment variable that holds the server's API key",
        section="endpoint (--engine openai)",
        metavar="VARIABLE",
    )
    concurrency: int = option(
        64, "number of concurrent requests", at_least=1, at_most=1000, section="endpoint (--engine openai)"
    )
    max_requests: int = option(
        0,
        "requests that this command may send, retries included; 0 for no limit",
        at_least=0,
        section="endpoint (--engine openai)",
    )
    request_timeout: float = option(
        1800, "seconds that one response may take", above=0, at_most=86400, section="endpoint (--engine openai)"
    )
    leave_out: tuple[str, ...] = option(
        (),
        "request parameters that the server refuses: seed, top_p, temperature, max_tokens",
        section="endpoint (--engine openai)",
        result=True,
    )
    engines: int = option(
        0,
        "engines that run at once, on the Ray cluster at RAY_ADDRESS or on this machine; 0 for one in this process",
        at_least=0,
        section="several engines",
    )
    device: Device = option(
        "cuda",
        "hardware for each of --engines: tensor_parallel_size GPUs, or CPU cores",
        section="several engines",
    )
    shard: str = option(
        "",
        "draw only every N-th problem of each benchmark, starting with number I (from 0), and write no report",
        section="several engines",
        metavar="I/N",
        result=True,
    )
    gather: bool = option(
        False, "collect the samples of all shards in OUTPUT_DIR/shards, then report", section="several engines"
    )

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise UserError(f"invalid value {self.model!r} for --model: expected a hub id or a folder")
        if self.output_dir.is_file():
            raise UserError(f"--output-dir {self.output_dir} is a file; give a folder")
        if not self.datasets:
            raise UserError("--datasets is empty: give one or more benchmarks")
        folders = [folder for folder in (self.data_dir, self.own_data) if folder]
        for name in self.datasets:
            check_name(name, *folders)
        # The class is frozen; what follows from other options is set here and nowhere else.
        object.__setattr__(self, "datasets", tuple(dict.fromkeys(self.datasets)))
        labels(self.datasets)
        # Before the options are checked, because None, which stands for the protocol's value, has no range.
        self._follow_protocol()
        check_options(self, flag)
        if self.prompt.count(PLACE) != 1:
            raise UserError(f"invalid value {shown_value(self.prompt)} for --prompt: expected a text with one {PLACE}")
        largest = max(self.samples.values())
        if self.temperature == 0 and largest > 1:
            raise UserError(f"--temperature 0 gives {largest} identical samples: use --num-samples 1")
        if self.until and min(self.samples.values()) < BASE:
            raise UserError(
                f"--until first draws {BASE} samples of each problem, but --num-samples is"
                f" {min(self.samples.values())}: give {BASE} or more"
            )
        if self.until and (self.shard or self.gather):
            raise UserError("--until needs all problems of a benchmark, not a shard of them: use it with --engines")
        if self.until and self.engine == "openai" and self.api == "chat" and self.thinking == "auto":
            raise UserError("--until grades while it draws, so it cannot wait for auto: give --thinking yes or no")
        if self.shard:
            object.__setattr__(self, "shard", "{}/{}".format(*parse_shard(self.shard)))
        if self.engine == "openai":
            check_endpoint(self)
        together = [flag(name) for name in ("shard", "gather", "engines") if getattr(self, name)]
        if len(together) > 1:
            raise UserError(f"{' and '.join(together)} exclude each other (--engines shards and gathers on its own)")

    def _follow_protocol(self) -> None:
        """Sets the options that are not given from the protocol; `check_options` reports a protocol that is unknown."""
        protocol = PROTOCOLS.get(self.protocol)
        for name in (*SAMPLING, "thinking"):
            if protocol and getattr(self, name) is OWN:
                object.__setattr__(self, name, getattr(protocol, name))
        if protocol and self.num_samples == 0 and len(set(self.samples.values())) == 1:
            object.__setattr__(self, "num_samples", protocol.samples_of(next(iter(self.samples))))

    @property
    def samples(self) -> dict[str, int]:
        """Returns the number of samples per problem for each data set, by label."""
        protocol = PROTOCOLS[self.protocol]
        return {name: self.num_samples or protocol.samples_of(name) for name in self.labels}

    @property
    def labels(self) -> dict[str, str]:
        """Returns the data sets by their names in the folder and in reports."""
        return labels(self.datasets)

    @property
    def own_data(self) -> Path:
        """Returns where the evaluation keeps its copies of the user's own data sets; its shards read the same ones."""
        is_part = self.shard and self.output_dir.parent.name == "shards"
        return own_data(self.output_dir.parent.parent if is_part else self.output_dir)

    def result_fields(self) -> dict[str, Any]:
        """Returns the options that the samples depend on, as JSON, without those that cannot apply.

        A whole evaluation has no `shard`. `num_samples` is the largest number; where the numbers differ between data
        sets, `samples` holds each.
        """
        chosen = {name: getattr(self, name) for name in bound_options()} | {"datasets": list(self.labels)}
        if self.num_samples == 0:
            chosen |= {"num_samples": max(self.samples.values()), "samples": self.samples}
        if not self.shard:
            del chosen["shard"]
        if self.engine != "openai":
            for name in OF_AN_ENDPOINT:
                del chosen[name]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}


def own_data(folder: Path) -> Path:
    """Returns where an evaluation's folder keeps its copies of the user's own data sets."""
    return folder / "data"


def bound_options() -> list[str]:
    """Returns the names of the options that change the samples."""
    return [name for name, one in options_of(EvaluationConfig).items() if one.notes.get("result")]


def parse_shard(shard: str) -> tuple[int, int]:
    """Returns the index and the number of shards: `1/4` -> (1, 4). Raises UserError."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    if not match or int(match[1]) >= int(match[2]):
        raise UserError(f"invalid value {shard!r} for --shard: expected I/N with I from 0 to N-1, such as 0/4")
    return int(match[1]), int(match[2])


def config_of(values: dict[str, Any]) -> EvaluationConfig:
    """Returns the configuration that options from flags and a file make. Raises UserError for invalid ones."""
    known = options_of(EvaluationConfig)
    missing = [one.flag for one in known.values() if one.default is REQUIRED and one.name not in values]
    if missing:
        raise UserError(f"{' and '.join(missing)} must be given, as a flag or in --config FILE")
    return EvaluationConfig(**values)


def to_arguments(config: EvaluationConfig) -> list[str]:
    """Returns the arguments of `deepscaler` that reproduce this configuration."""
    counted = config if config.engines else replace(config, device="cuda")  # --device counts with --engines only
    protocol = PROTOCOLS[config.protocol]
    decided = {name: getattr(protocol, name) for name in (*SAMPLING, "thinking")}
    if all(number == protocol.samples_of(name) for name, number in config.samples.items()):
        decided["num_samples"] = config.num_samples
    return ["evaluate", *to_flags(counted, decided)]


def with_absolute_paths(config: EvaluationConfig) -> EvaluationConfig:
    """Returns the configuration with absolute paths, which hold in any folder and on any machine that shares them."""
    return replace(
        config,
        model=str(Path(config.model).absolute()) if Path(config.model).is_dir() else config.model,
        output_dir=config.output_dir.absolute(),
        datasets=tuple(absolute(name, Path.cwd()) for name in config.datasets),
        data_dir=config.data_dir and config.data_dir.absolute(),
        source=config.source and config.source.absolute(),
    )


def with_thinking(config: EvaluationConfig, text: str) -> EvaluationConfig:
    """Returns the configuration with `auto` resolved: a model thinks if its chat template has a <think> tag."""
    if config.thinking != "auto":
        return config
    # an endpoint does not show its template: there `text` is one of its responses
    return replace(config, thinking="yes" if thinks(text) else "no")


def thinks(text: str) -> bool:
    """Returns whether a text holds <think> or </think>."""
    return re.search("</?think>", text) is not None
