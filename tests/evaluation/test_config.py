"""Options: the published protocol by default, files and flags over it, and plain words about wrong ones."""

from pathlib import Path
from typing import Any

import pytest

from deepscaler.commands.given import options_given
from deepscaler.commands.parser import parse
from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig, config_of, with_thinking

REQUIRED: dict[str, Any] = {"model": "m", "output_dir": Path("out")}


def test_the_defaults_are_the_published_protocol() -> None:
    config = EvaluationConfig(**REQUIRED)
    assert (config.num_samples, config.temperature, config.top_p, config.max_tokens) == (16, 0.6, 0.95, 32768)
    assert set(config.datasets) == {"aime", "amc", "math", "minerva", "olympiad_bench"}


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "e.toml"
    file.write_text('model = "m"\noutput_dir = "out"\nnum_samples = 4\ntemperature = 1\ndatasets = ["amc"]\n')
    arguments = parse(["evaluate", "--config", str(file), "--num-samples", "8"])
    file.unlink()  # what was checked is what counts
    config = config_of(options_given(arguments))
    assert (config.num_samples, config.temperature, config.top_p, config.datasets) == (8, 1.0, 0.95, ("amc",))
    assert config.output_dir == Path("out")


def test_every_flag_of_the_original_evaluation_is_understood() -> None:
    flags = "--model M --datasets aime amc math minerva olympiad_bench --output-dir D --num-samples 16"
    arguments = parse(["evaluate", *flags.split()])
    config = config_of(options_given(arguments))
    assert config.datasets == ("aime", "amc", "math", "minerva", "olympiad_bench")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"datasets": ("amie",)}, "did you mean 'aime'"),
        ({"datasets": ()}, "--datasets"),
        ({"num_samples": -1}, "invalid value -1 for --num-samples: expected an integer of at least 1, or 0"),
        ({"temperature": -0.1}, "--temperature"),
        ({"temperature": 1e-40}, "--temperature"),
        ({"seed": -1}, "--seed"),
        ({"temperature": float("nan")}, "--temperature"),
        ({"top_p": 0.0}, "--top-p"),
        ({"max_tokens": 0}, "--max-tokens"),
        ({"engine": "vlm"}, "did you mean 'vllm'"),
        ({"temperature": 0.0}, "--num-samples 1"),
        ({"model": " "}, "--model"),
        ({"engines": -1}, "invalid value -1 for --engines"),
        ({"device": "gpu"}, r"invalid value 'gpu' for --device \(did you mean 'cpu'\?\): expected cuda or cpu"),
        ({"shard": "4/4"}, "invalid value '4/4' for --shard: expected I/N with I from 0 to N-1"),
        ({"shard": "1"}, "expected I/N"),
        ({"shard": "0/0"}, "expected I/N"),
        ({"shard": "0/2", "engines": 2}, "--shard and --engines exclude each other"),
        ({"gather": True, "engines": 2}, "--gather and --engines exclude each other"),
    ],
)
def test_wrong_values_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EvaluationConfig(**{**REQUIRED, **wrong})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_sample = 4", "did you mean 'num_samples'"),
        ("num_samples = 'four'", "expected an integer"),
        ("num_samples = true", "expected an integer"),
        ("datasets = 'aime'", "expected a list of texts"),
        ("gather = 1", "expected true or false"),
        ("num_samples = ", "cannot be read"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "e.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        parse(["evaluate", "--config", str(tmp_path / "e.toml")])


def test_what_must_be_given_is_listed() -> None:
    with pytest.raises(UserError, match="--model and --output-dir must be given"):
        config_of({})


def test_a_model_thinks_if_its_template_says_so() -> None:
    config = EvaluationConfig(**REQUIRED)
    assert with_thinking(config, "{% if '</think>' in content %}").thinking == "yes"
    assert with_thinking(config, "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}").thinking == "yes"
    assert with_thinking(config, "{{ messages }}").thinking == "no"
    assert with_thinking(EvaluationConfig(**REQUIRED, thinking="no"), "</think>").thinking == "no"


def test_only_what_changes_samples_binds_a_folder() -> None:
    one = EvaluationConfig(**REQUIRED).result_fields()
    other = EvaluationConfig(**REQUIRED, tensor_parallel_size=4, max_num_seqs=8).result_fields()
    assert one == other == EvaluationConfig(**REQUIRED, engines=4, device="cpu").result_fields()
    assert one != EvaluationConfig(**REQUIRED, seed=1).result_fields()
    assert one != EvaluationConfig(**REQUIRED, shard="0/2").result_fields()


def test_a_data_set_named_twice_is_evaluated_once() -> None:
    assert EvaluationConfig(**REQUIRED, datasets=("aime", "amc", "aime")).datasets == ("aime", "amc")


def test_an_endpoint_that_may_think_is_not_graded_while_it_draws(tmp_path: Path) -> None:
    options = {"model": "m", "output_dir": tmp_path, "engine": "openai", "base_url": "http://127.0.0.1:1/v1"}
    with pytest.raises(UserError, match="--until grades while it draws, so it cannot wait for auto"):
        EvaluationConfig(**options, until=1.5)
    assert EvaluationConfig(**options, until=1.5, thinking="yes").until == 1.5
