"""Declares what one evaluation is: every option once, with its default, its flag's help and its range.

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
"""The default of an option that the protocol decides; a configuration holds the protocol's value instead."""

BASE = 8
"""Samples of each problem that `--until` draws first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """Holds one evaluation's options; where none is given, those of the protocol, which is DeepScaleR's by default.

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
        0, "only the first N problems of each benchmark; 0 for all", at_least=0, section="what", result=True
    )
    data_dir: Path | None = option(None, "folder with prepared data; default: the cache", section="what", metavar="DIR")
    source: Path | None = option(
        None, "folder with the benchmarks' JSON files (no download)", section="what", metavar="DIR"
    )
    protocol: ProtocolName = option(
        "deepscaler",
        "published way to measure that decides the options of this section that are not given",
        section="sampling",
        result=True,
    )
    num_samples: int = option(
        0,
        "responses per problem; 0 for the protocol's numbers, which may differ by benchmark",
        at_least=1,
        or_zero=True,
        section="sampling",
        result=True,
    )
    until: float = option(
        0.0,
        "draw no more of a benchmark than makes its sampling error (95 % half width, these problems) so many points",
        above=0,
        at_most=50,
        or_zero=True,
        section="sampling",
        metavar="POINTS",
        result=True,
    )
    temperature: float = option(
        OWN,
        "temperature; 0 for greedy (default: the protocol's)",
        at_least=0.01,
        at_most=10,
        or_zero=True,
        section="sampling",
        result=True,
    )
    top_p: float = option(
        OWN, "nucleus of the sampling (default: the protocol's)", above=0, at_most=1, section="sampling", result=True
    )
    max_tokens: int = option(
        OWN, "tokens per response (default: the protocol's)", at_least=1, section="sampling", result=True
    )
    prompt: str = option(
        OWN,
        f"what the model is asked, with {PLACE} where the problem stands (default: the protocol's)",
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
        "whether responses end their thinking with </think>, and only later boxes count (default: the protocol's)",
        section="sampling",
    )
    engine: EngineName = option("vllm", "engine that generates", section="engine", result=True)
    dtype: Dtype = option("auto", "type of weights and activations", section="engine", result=True)
    deterministic: bool = option(
        False,
        "draw the same tokens in any batch: vLLM's batch invariance on GPUs, one sequence at a time elsewhere",
        section="engine",
        result=True,
    )
    tensor_parallel_size: int = option(1, "GPUs that share one copy of the model", at_least=1, section="engine")
    gpu_memory_utilization: float = option(0.9, "share of GPU memory for vLLM", above=0, at_most=1, section="engine")
    max_num_seqs: int = option(0, "sequences in a batch; 0 for the engine's own choice", at_least=0, section="engine")
    base_url: str = option(
        "",
        "the server's URL, such as http://localhost:8000/v1",
        section="endpoint (--engine openai)",
        metavar="URL",
        result=True,
    )
    api: Api = option(
        "chat",
        "`chat` sends messages, `completions` the token ids that a local engine gets",
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
        "", "environment variable that holds the key", section="endpoint (--engine openai)", metavar="VARIABLE"
    )
    concurrency: int = option(64, "requests at once", at_least=1, at_most=1000, section="endpoint (--engine openai)")
    max_requests: int = option(
        0,
        "requests that this command may send, repeated ones included; 0 for no bound",
        at_least=0,
        section="endpoint (--engine openai)",
    )
    request_timeout: float = option(
        1800, "seconds that one response may take", above=0, at_most=86400, section="endpoint (--engine openai)"
    )
    leave_out: tuple[str, ...] = option(
        (),
        "parameters that the server refuses: seed, top_p, temperature, max_tokens",
        section="endpoint (--engine openai)",
        result=True,
    )
    engines: int = option(
        0,
        "engines that draw at once, on the Ray cluster at RAY_ADDRESS or on this machine; 0 for one in this process",
        at_least=0,
        section="several engines",
    )
    device: Device = option(
        "cuda",
        "what each of --engines gets: tensor_parallel_size GPUs, or cores",
        section="several engines",
    )
    shard: str = option(
        "",
        "only every N-th problem of each benchmark, from the I-th (from 0), and no report",
        section="several engines",
        metavar="I/N",
        result=True,
    )
    gather: bool = option(
        False, "take the samples of all shards in OUTPUT_DIR/shards, then report", section="several engines"
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
        object.__setattr__(self, "datasets", tuple(dict.fromkeys(self.datasets)))
        labels(self.datasets)
        self._follow_protocol()
        check_options(self, flag)
        if self.prompt.count(PLACE) != 1:
            raise UserError(f"invalid value {shown_value(self.prompt)} for --prompt: expected a text with one {PLACE}")
        largest = max(self.samples.values())
        if self.temperature == 0 and largest > 1:
            raise UserError(f"--temperature 0 gives {largest} equal samples: use --num-samples 1")
        if self.until and min(self.samples.values()) < BASE:
            raise UserError(
                f"--until draws {BASE} samples of each problem first, --num-samples is {min(self.samples.values())}:"
                f" give {BASE} or more"
            )
        if self.until and (self.shard or self.gather):
            raise UserError("--until decides over all problems of a benchmark, not over shards: use it with --engines")
        if self.until and self.engine == "openai" and self.api == "chat" and self.thinking == "auto":
            raise UserError("--until grades while it draws: say whether the model thinks, by --thinking yes or no")
        if self.shard:
            object.__setattr__(self, "shard", "{}/{}".format(*parse_shard(self.shard)))
        if self.engine == "openai":
            check_endpoint(self)
        together = [flag(name) for name in ("shard", "gather", "engines") if getattr(self, name)]
        if len(together) > 1:
            raise UserError(f"{' and '.join(together)} exclude each other (--engines shards and gathers by itself)")

    def _follow_protocol(self) -> None:
        """Settles the options that are not given, unless their protocol does not exist, which `check_options` says."""
        protocol = PROTOCOLS.get(self.protocol)
        for name in (*SAMPLING, "thinking"):
            if protocol and getattr(self, name) is OWN:
                object.__setattr__(self, name, getattr(protocol, name))
        if protocol and self.num_samples == 0 and len(set(self.samples.values())) == 1:
            object.__setattr__(self, "num_samples", protocol.samples_of(next(iter(self.samples))))

    @property
    def samples(self) -> dict[str, int]:
        """Returns how many samples a problem are drawn of each data set, by label."""
        protocol = PROTOCOLS[self.protocol]
        return {name: self.num_samples or protocol.samples_of(name) for name in self.labels}

    @property
    def labels(self) -> dict[str, str]:
        """Returns the data sets by the names that they have in the folder and in reports."""
        return labels(self.datasets)

    @property
    def own_data(self) -> Path:
        """Returns where the evaluation keeps its copies of sets that are not the kit's; its shards read the same."""
        is_part = self.shard and self.output_dir.parent.name == "shards"
        return own_data(self.output_dir.parent.parent if is_part else self.output_dir)

    def result_fields(self) -> dict[str, Any]:
        """Returns what the samples depend on, as JSON; what cannot count is left out: a whole one has no `shard`.

        `num_samples` is the largest number; where numbers differ by data set, `samples` holds each.
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
    """Returns where an evaluation's folder keeps its copies of sets that are not the kit's."""
    return folder / "data"


def bound_options() -> list[str]:
    """Returns the names of the options that change the samples."""
    return [name for name, one in options_of(EvaluationConfig).items() if one.notes.get("result")]


def parse_shard(shard: str) -> tuple[int, int]:
    """Returns index and number of shards: `1/4` -> (1, 4). Raises UserError."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    if not match or int(match[1]) >= int(match[2]):
        raise UserError(f"invalid value {shard!r} for --shard: expected I/N with I from 0 to N-1, such as 0/4")
    return int(match[1]), int(match[2])


def config_of(values: dict[str, Any]) -> EvaluationConfig:
    """Returns the configuration of some options, given as flags or by a file. Raises UserError."""
    known = options_of(EvaluationConfig)
    missing = [one.flag for one in known.values() if one.default is REQUIRED and one.name not in values]
    if missing:
        raise UserError(f"{' and '.join(missing)} must be given, as a flag or in --config FILE")
    return EvaluationConfig(**values)


def to_arguments(config: EvaluationConfig) -> list[str]:
    """Returns the arguments of `deepscaler` that give this configuration again."""
    counted = config if config.engines else replace(config, device="cuda")  # --device counts with --engines only
    protocol = PROTOCOLS[config.protocol]
    decided = {name: getattr(protocol, name) for name in (*SAMPLING, "thinking")}
    if all(number == protocol.samples_of(name) for name, number in config.samples.items()):
        decided["num_samples"] = config.num_samples
    return ["evaluate", *to_flags(counted, decided)]


def with_absolute_paths(config: EvaluationConfig) -> EvaluationConfig:
    """Returns the configuration with paths that mean the same in another folder, and on another machine."""
    return replace(
        config,
        model=str(Path(config.model).absolute()) if Path(config.model).is_dir() else config.model,
        output_dir=config.output_dir.absolute(),
        datasets=tuple(absolute(name, Path.cwd()) for name in config.datasets),
        data_dir=config.data_dir and config.data_dir.absolute(),
        source=config.source and config.source.absolute(),
    )


def with_thinking(config: EvaluationConfig, text: str) -> EvaluationConfig:
    """Returns the configuration with `auto` settled: a model thinks if its chat template begins or ends thinking.

    An endpoint has no template here; its responses are the text then.
    """
    if config.thinking != "auto":
        return config
    return replace(config, thinking="yes" if thinks(text) else "no")


def thinks(text: str) -> bool:
    """Returns whether a text begins or ends thinking."""
    return re.search("</?think>", text) is not None
