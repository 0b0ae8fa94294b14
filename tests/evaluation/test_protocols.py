"""Protocols: whole prompts, numbers of samples, overrides, and what folders keep of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from deepscaler.cli import main
from deepscaler.commands.given import options_given
from deepscaler.commands.parser import parse
from deepscaler.data.problem import SUFFIX, Problem, ask, ask_by
from deepscaler.data.sources import SOURCES
from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig, config_of, to_arguments
from evaluation.folder import EvaluationFolder
from evaluation.protocols import PROTOCOLS, overrides, samples_of, told
from evaluation.stored import check_stored

REQUIRED: dict[str, Any] = {"model": "m", "output_dir": Path("out")}
TEMPLATES = Path(__file__).parent / "chat_templates"
PROBLEM = Problem(id="aime/1", data_source="aime", prompt=ask("What is $1+1$?"), golds=("2",))

_R1 = r"What is $1+1$?{}Please reason step by step, and put your final answer within \boxed{{}}."
_SIMPLE_EVALS = (
    "Solve the following math problem efficiently and clearly.  The last line of your response should be of the "
    "following format: 'Therefore, the final answer is: $\\boxed{ANSWER}$. I hope it is correct' (without quotes) "
    "where ANSWER is just the final number or expression that solves the problem. Think step by step before answering."
    "\n\nWhat is $1+1$?"
)
ASKED = {
    "deepscaler": r"What is $1+1$? Let's think step by step and output the final answer within \boxed{}.",
    "justrl": _R1.format(" "),
    "sober": _SIMPLE_EVALS,
    "lighteval": _SIMPLE_EVALS,
    "r1": _R1.format("\n"),
}
"""What the user's message is, byte by byte."""


def rendered(protocol: str, template: str) -> str:
    """Returns the whole prompt of a model with a chat template, as its tokenizer makes it."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"a": 0}, "a")), bos_token="<｜begin▁of▁sentence｜>"
    )
    tokenizer.chat_template = (TEMPLATES / template).read_text(encoding="utf-8")
    config = EvaluationConfig(**REQUIRED, protocol=protocol)  # type: ignore[arg-type]
    messages = [dict(message) for message in ask_by(PROBLEM, config.prompt).prompt]
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_r1s_distillations_are_asked_exactly_this(protocol: str) -> None:
    whole = f"<｜begin▁of▁sentence｜><｜User｜>{ASKED[protocol]}<｜Assistant｜><think>\n"
    assert rendered(protocol, "deepseek-r1-distill.jinja") == whole


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_template_may_add_a_system_message_of_its_own(protocol: str) -> None:
    system = "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>"
    whole = f"{system}\n<|im_start|>user\n{ASKED[protocol]}<|im_end|>\n<|im_start|>assistant\n"
    assert rendered(protocol, "qwen2.5-math.jinja") == whole


def test_worked_examples_are_asked_alike_and_a_users_own_chat_stays() -> None:
    examples = [*ask("1?"), {"role": "assistant", "content": r"\boxed{1}"}]
    few_shot = Problem(id="a", data_source="a", prompt=ask("2?", examples), golds=("2",))
    asked = ask_by(few_shot, "Q: {problem} A:").prompt
    assert [message["content"] for message in asked] == ["Q: 1? A:", r"\boxed{1}", "Q: 2? A:"]
    own = Problem(id="a", data_source="a", prompt=({"role": "user", "content": "Mine {problem}?"},), golds=("2",))
    assert ask_by(own, "Q: {problem}") == own
    assert ask_by(PROBLEM, PROTOCOLS["deepscaler"].prompt) == PROBLEM
    assert PROBLEM.question.endswith(SUFFIX)


def test_numbers_of_samples_differ_by_benchmark() -> None:
    config = EvaluationConfig(**REQUIRED, protocol="justrl", datasets=("aime", "math", "amc23", "arithmetic"))
    assert config.samples == {"aime": 32, "math": 4, "amc23": 32, "arithmetic": 4}
    stored = config.result_fields()
    assert (stored["num_samples"], stored["samples"]) == (32, config.samples)
    one = EvaluationConfig(**REQUIRED, protocol="justrl", datasets=("aime",)).result_fields()
    assert one["num_samples"] == 32
    assert "samples" not in one
    assert EvaluationConfig(**REQUIRED, protocol="justrl", num_samples=2).samples["math"] == 2


def test_a_flag_wins_over_the_protocol_and_the_protocol_over_the_defaults() -> None:
    arguments = parse(["evaluate", "--model", "M", "--output-dir", "D", "--protocol", "sober", "--temperature", "0.6"])
    config = config_of(options_given(arguments))
    assert (config.temperature, config.top_p, config.max_tokens, config.thinking) == (0.6, 0.9, 32768, "no")
    again = config_of(options_given(parse(to_arguments(config))))
    assert again == config, "0.6 is the default's temperature, but not this protocol's"
    assert "--top-p" not in to_arguments(config)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_command_gives_the_same_configuration_again(protocol: str) -> None:
    for more in ({}, {"num_samples": 7}, {"prompt": "Q: {problem}\n"}, {"thinking": "yes"}):
        options: Any = {**REQUIRED, "protocol": protocol, "datasets": ("aime", "math"), **more}
        config = EvaluationConfig(**options)
        assert config_of(options_given(parse(to_arguments(config)))) == config


def test_the_defaults_are_left_out_of_commands() -> None:
    assert to_arguments(EvaluationConfig(**REQUIRED)) == ["evaluate", "--model", "m", "--output-dir", "out"]


def test_what_was_overridden_is_told() -> None:
    def stored(**options: Any) -> dict[str, Any]:
        config = EvaluationConfig(**REQUIRED, **options)
        return {**config.result_fields(), "thinking": "yes"}

    assert told(stored()) == "deepscaler"
    assert told(stored(temperature=0.8)) == "deepscaler except temperature 0.8"
    assert told(stored(num_samples=4, limit=3)) == "deepscaler except num_samples 4, limit 3"
    assert overrides(stored(protocol="justrl", prompt="{problem}")) == ["another prompt", "boxes after </think> only"]
    mixed = {**stored(protocol="justrl", datasets=("aime", "math")), "samples": {"aime": 32, "math": 8}}
    assert overrides(mixed)[0] == "8 samples of math"
    assert told({"protocol": None, "num_samples": 1, "datasets": []}) == "unknown"
    assert told({**stored(), "imported": {"format": "jsonl"}}) == "unknown"


@pytest.mark.parametrize("prompt", ["no place", "{problem} {problem}", ""])
def test_a_prompt_without_one_place_for_the_problem_is_refused(prompt: str) -> None:
    with pytest.raises(UserError, match=r"--prompt: expected a text with one \{problem\}"):
        EvaluationConfig(**REQUIRED, prompt=prompt)


def test_a_folder_is_bound_to_its_protocol_and_grows_by_benchmark(tmp_path: Path) -> None:
    folder = EvaluationFolder(tmp_path)

    def wanted(*datasets: str, **options: Any) -> dict[str, Any]:
        config = EvaluationConfig(**REQUIRED, **{"protocol": "justrl", **options}, datasets=datasets)
        return {**config.result_fields(), "thinking": "no", "weights": "w"}

    folder.bind(wanted("math"))
    folder.bind(wanted("aime"))
    config = folder.read_config()
    assert (samples_of(config, "math"), samples_of(config, "aime"), config["num_samples"]) == (4, 32, 32)
    assert config["prompt"] == PROTOCOLS["justrl"].prompt
    with pytest.raises(UserError, match="num_samples: 32 -> 8"):
        folder.check(wanted("aime", num_samples=8))
    with pytest.raises(UserError, match="protocol: 'justrl' -> 'r1'"):
        folder.check(wanted("aime", protocol="r1"))


def test_an_older_folder_was_drawn_by_deepscalers_protocol(tmp_path: Path) -> None:
    older = {"model": "m", "datasets": ["aime"], "weights": "w", "thinking": "yes", "num_samples": 16}
    found = check_stored(older, tmp_path / "config.json")
    assert (found["protocol"], found["prompt"]) == ("deepscaler", "{problem}" + SUFFIX)
    with pytest.raises(UserError, match="its samples are"):
        check_stored({**older, "samples": {"aime": "many"}}, tmp_path / "config.json")


def test_a_plan_counts_each_benchmark_by_its_own_number(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"evaluate --model M --protocol justrl --datasets aime math --output-dir {tmp_path} --dry-run"
    assert main([*command.split(), "--source", str(shared_data)]) == 0
    shown = capsys.readouterr().out
    assert "aime: 30 problems x 32 samples = 960" in shown
    assert "math: 500 problems x 4 samples = 2,000" in shown
    assert json.dumps(PROTOCOLS["justrl"].prompt) in shown


def test_means_are_of_benchmarks_in_the_table() -> None:
    assert {name for protocol in PROTOCOLS.values() for name in protocol.mean} <= SOURCES.keys()
