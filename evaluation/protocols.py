r"""Holds the protocols behind published numbers: every setting that moves a score, and where it is documented.

deepscaler   n 16, T 0.6, top-p 0.95, 32,768 tokens, "{problem} Let's think step by step and output ... \boxed{}."

A protocol supplies the defaults of an evaluation's options. `unlike` lists the settings that it cannot supply, because
this kit works differently or the source does not say. No protocol has a system message or worked examples.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deepscaler.data.problem import SUFFIX
from deepscaler.data.sources import PUBLISHED_BENCHMARKS, SOURCES
from deepscaler.rewards.grade import Mode

ProtocolName = Literal["deepscaler", "justrl", "sober", "lighteval", "r1"]
Thinking = Literal["auto", "yes", "no"]

SAMPLING = ("temperature", "top_p", "max_tokens", "prompt")
"""Options that a protocol decides and a folder is bound to, in addition to the number of samples."""

GRADERS: dict[str, str] = {"kit": "this kit's rules", "deepscaler": "DeepScaleR's rules"}
"""The rules that each mode of the grader applies, in words."""

_DIRECTIVE = r"Please reason step by step, and put your final answer within \boxed{}."
# With the two blanks before "The": prompts are compared with the originals as they are.
_SIMPLE_EVALS = (
    "Solve the following math problem efficiently and clearly.  The last line of your response should be of the"
    r" following format: 'Therefore, the final answer is: $\boxed{ANSWER}$. I hope it is correct' (without quotes)"
    " where ANSWER is just the final number or expression that solves the problem. Think step by step before answering."
    "\n\n{problem}"
)
_WHOLE_CONTEXT = "there the 32,768 tokens hold the prompt, too"
_MATH_VERIFY = "math-verify also takes expressions outside a box, here only the last box counts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Describes one evaluation protocol."""

    name: ProtocolName
    source: str
    """The repository, files and revision that document it."""
    contests: int
    """Samples per problem for sets of 30 to 83 problems (`Source.is_contest`)."""
    others: int
    """Samples per problem for all other sets."""
    temperature: float
    top_p: float
    max_tokens: int
    prompt: str
    """The user's message; {problem} stands for the problem."""
    asks: str
    """The prompt in a word or two."""
    thinking: Thinking
    """`no` if the last box of the whole response counts, even in unfinished thinking."""
    graded_by: str
    grader: Mode
    """The mode of this kit's grader that comes closest."""
    seeds: str
    mean: tuple[str, ...] = ()
    """Benchmarks that the source averages; empty if it reports no mean."""
    unlike: tuple[str, ...]
    """Differences that remain even if no option is overridden."""

    def samples_of(self, dataset: str) -> int:
        """Returns the number of samples per problem for a data set's label."""
        is_contest = dataset in SOURCES and SOURCES[dataset].is_contest
        return self.contests if is_contest else self.others

    @property
    def about(self) -> str:
        """Returns where the protocol is documented, and what this kit does differently."""
        return f"Source: {self.source}. Seeds there: {self.seeds}. Different here: {'; '.join(self.unlike)}."


_TABLE = (
    Protocol(
        name="deepscaler",
        source="agentica-project/deepscaler README.md, scripts/eval/eval_model.sh, scripts/data @ 95ef74f (2025-02-15)",
        contests=16,
        others=16,
        temperature=0.6,
        top_p=0.95,
        max_tokens=32768,
        prompt="{problem}" + SUFFIX,
        asks="DeepScaleR's suffix",
        thinking="auto",
        graded_by=GRADERS["deepscaler"],
        grader="deepscaler",
        seeds="not fixed",
        mean=PUBLISHED_BENCHMARKS,
        unlike=(
            "there the box must follow the first </think>, here the last",
            "vLLM 0.6.3 or older with XFORMERS attention",
        ),
    ),
    Protocol(
        name="justrl",
        source="thunlp/JustRL evals/gen_vllm.py, evals/grade.py, README.md @ cf444e9 (2026-06-29)",
        contests=32,
        others=4,
        temperature=0.7,
        top_p=0.9,
        max_tokens=31744,
        prompt="{problem} " + _DIRECTIVE,
        asks="R1's directive",
        thinking="no",
        graded_by="DeepScaleR's rules, then CompassVerifier-3B",
        grader="deepscaler",
        seeds="drawn at random, one for each sample of a whole set",
        mean=("aime", "aime25", "amc23", "math", "minerva", "olympiad_bench", "hmmt25", "brumo25", "cmimc25"),
        unlike=(
            "there a model, CompassVerifier-3B, reviews what the rules call wrong, here the rules decide alone",
            "OlympiadBench has 674 problems there, 675 here",
            "vLLM 0.8.4",
        ),
    ),
    Protocol(
        name="sober",
        source="bethgelab/sober-reasoning README.md, lighteval_tasks.py, index.html, Dockerfile @ 8fceffd (2025-11-18)",
        contests=10,
        others=3,
        temperature=0.8,
        top_p=0.9,
        max_tokens=32768,
        prompt=_SIMPLE_EVALS,
        asks="simple-evals' template",
        thinking="no",
        graded_by="math-verify 0.5.2",
        grader="kit",
        seeds="a run of one sample for each seed, from 0",
        unlike=(_MATH_VERIFY, _WHOLE_CONTEXT, "vLLM 0.7.2 in bfloat16"),
    ),
    Protocol(
        name="lighteval",
        source="huggingface/open-r1 README.md @ 1416fa0 (2026-04-02), which pins lighteval d3da6b9 (2025-05-15)",
        contests=64,
        others=4,
        temperature=0.6,
        top_p=0.95,
        max_tokens=32768,
        prompt=_SIMPLE_EVALS,
        asks="simple-evals' template",
        thinking="no",
        graded_by="math-verify",
        grader="kit",
        seeds="1234 for the whole run",
        unlike=(
            _MATH_VERIFY,
            _WHOLE_CONTEXT,
            "n is stated for AIME 2024 and MATH-500; other contests follow the first, other sets the second",
        ),
    ),
    Protocol(
        name="r1",
        source="deepseek-ai/DeepSeek-R1 README.md @ 0cf7856 (2025-04-09)",
        contests=64,
        others=64,
        temperature=0.6,
        top_p=0.95,
        max_tokens=32768,
        prompt="{problem}\n" + _DIRECTIVE,
        asks="R1's directive",
        thinking="auto",
        graded_by="an unknown grader",
        grader="kit",
        seeds="not known",
        unlike=(
            "how the problem and the directive are joined is not known, here by a line break",
            "the grader, the box that counts and the engine are not known",
        ),
    ),
)

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _TABLE}
"""The protocols by name."""


def protocol_of(config: Mapping[str, Any]) -> Protocol | None:
    """Returns the protocol of a folder's options; None for imported samples, whose protocol is unknown."""
    return None if "imported" in config else PROTOCOLS.get(str(config.get("protocol")))


def protocol_name(config: Mapping[str, Any]) -> str:
    """Returns the name of a folder's protocol; empty if it is unknown."""
    protocol = protocol_of(config)
    return protocol.name if protocol else ""


def samples_of(config: Mapping[str, Any], dataset: str) -> int:
    """Returns the samples per problem that a folder's options request for a data set."""
    by_dataset: dict[str, int] = config.get("samples", {})
    return by_dataset.get(dataset, int(config["num_samples"] or 0))


def told_numbers(numbers: Iterable[int]) -> str:
    """Returns numbers of samples as text, the largest first: `32 or 4`."""
    return " or ".join(map(str, sorted(set(numbers), reverse=True)))


def overrides(config: Mapping[str, Any]) -> list[str]:
    """Returns the options that differ from the folder's protocol: `temperature 0.8`; none if it is unknown."""
    protocol = protocol_of(config)
    if protocol is None:
        return []
    datasets: Iterable[str] = config["datasets"]
    found = [f"{samples_of(config, name)} samples of {name}" for name in _other_samples(protocol, config)]
    if found and len({samples_of(config, name) for name in datasets}) == 1:
        found = [f"num_samples {config['num_samples']}"]
    for name in SAMPLING:
        if config.get(name) not in (None, getattr(protocol, name)):
            found.append("another prompt" if name == "prompt" else f"{name} {config[name]}")
    if config.get("limit"):
        found.append(f"limit {config['limit']}")
    if protocol.thinking == "no" and config.get("thinking") == "yes":
        found.append("boxes after </think> only")
    return found


def _other_samples(protocol: Protocol, config: Mapping[str, Any]) -> list[str]:
    return [name for name in config["datasets"] if samples_of(config, name) != protocol.samples_of(name)]


def told(config: Mapping[str, Any]) -> str:
    """Returns a folder's protocol in words: `deepscaler except temperature 0.8`."""
    protocol = protocol_of(config)
    if protocol is None:
        return "unknown"
    found = overrides(config)
    return protocol.name + (f" except {', '.join(found)}" if found else "")
