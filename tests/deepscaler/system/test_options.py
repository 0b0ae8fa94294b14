"""One declaration is a flag, a TOML key and a check, and all three speak the same words."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from deepscaler.system.errors import UserError
from deepscaler.system.flags import add_flags, given_options, to_flags
from deepscaler.system.option import flag
from deepscaler.system.options import REQUIRED, check_options, option, parse_settings, read_options


@dataclass(frozen=True, kw_only=True)
class Drawing:
    model: str = option(REQUIRED, "model to draw from")
    num_samples: int = option(16, "responses per problem", at_least=1, section="sampling")
    top_p: float = option(0.95, "nucleus", above=0, at_most=1, section="sampling")
    heat: float = option(0.6, "temperature", at_least=0.01, at_most=10, or_zero=True)
    kind: Literal["auto", "bfloat16", "float32"] = option("auto", "type of weights")
    greedy: bool = option(False, "take the most probable token")
    names: tuple[str, ...] = option((), "names")
    folder: Path | None = option(None, "where to write")
    variables: dict[str, str] = option({}, "environment")

    def __post_init__(self) -> None:
        check_options(self, flag)


def parsed(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser, Flags)
    return given_options(parser.parse_args(words), Flags)


@dataclass(frozen=True, kw_only=True)
class Flags:
    num_samples: int = option(16, "responses per problem", at_least=1)
    kind: Literal["auto", "bfloat16", "float32"] = option("auto", "type of weights")
    greedy: bool = option(False, "take the most probable token")
    names: tuple[str, ...] = option((), "names")
    folder: Path | None = option(None, "where to write")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_samples": 0}, "invalid value 0 for --num-samples: expected an integer of at least 1"),
        ({"top_p": 1.5}, "expected a number above 0 and at most 1 (nucleus)"),
        ({"top_p": float("nan")}, "invalid value nan for --top-p"),
        ({"heat": 0.001}, "expected a number of at least 0.01 and at most 10, or 0"),
        (
            {"num_samples": 10**400},
            "invalid value of 401 digits for --num-samples: expected an integer of at least 1, with at most 18 digits",
        ),
        ({"num_samples": -(10**5000)}, "invalid value of 5001 digits for --num-samples"),
        ({"top_p": 10**400}, "invalid value of 401 digits for --top-p: expected a number above 0 and at most 1"),
        ({"kind": "float23"}, "(did you mean 'float32'?): expected one of auto, bfloat16, float32"),
    ],
)
def test_a_value_out_of_range_says_what_is_allowed(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        Drawing(**{"model": "m", **wrong})
    assert message in str(raised.value)


def test_zero_is_allowed_where_it_switches_something_off() -> None:
    assert Drawing(model="m", heat=0.0).heat == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_sample = 4", "did you mean 'num_samples'"),
        ("num_samples = 4.0", "invalid value 4.0 for num_samples in"),
        ("num_samples = true", "expected an integer of at least 1"),
        ('top_p = "high"', "expected a number above 0"),
        ("greedy = 1", "expected true or false"),
        ('names = "one"', "expected a list of texts"),
        ("names = [1]", "expected a list of texts"),
        ("folder = 3", "expected a path"),
        ("variables = {A = 1}", "expected a table of texts"),
        ("kind = ", "cannot be read"),
        pytest.param("top_p = 1" + "0" * 400, "invalid value of 401 digits for top_p in", id="400 digits"),
        pytest.param("top_p = 1" + "0" * 5000, "cannot be read: it holds an integer of thousands of digits", id="5000"),
        pytest.param("top_p = 0x" + "f" * 5000, "digits for top_p in", id="hexadecimal"),
        pytest.param("model = " + "[" * 5000, "d.toml cannot be read: it is nested too deeply", id="nested"),
    ],
)
def test_a_file_is_typed_by_the_fields(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "d.toml").write_text(text)
    with pytest.raises(UserError, match=r"d\.toml") as raised:
        read_options(tmp_path / "d.toml", Drawing)
    assert message in str(raised.value)


def test_a_file_gives_what_flags_give(tmp_path: Path) -> None:
    (tmp_path / "d.toml").write_text('num_samples = 4\ngreedy = true\nnames = ["a", "b"]\nfolder = "out"\ntop_p = 1')
    read = read_options(tmp_path / "d.toml", Drawing)
    assert read == {"num_samples": 4, "greedy": True, "names": ("a", "b"), "folder": Path("out"), "top_p": 1.0}
    assert type(read["top_p"]) is float
    given = parsed("--num-samples", "4", "--greedy", "--names", "a", "b", "--folder", "out")
    assert given == {name: value for name, value in read.items() if name != "top_p"}


def test_flags_give_the_same_options_again() -> None:
    chosen = Flags(num_samples=3, greedy=True, names=("a", "b"), folder=Path("x"))
    assert Flags(**parsed(*to_flags(chosen))) == chosen
    assert to_flags(Flags()) == []


@pytest.mark.parametrize("words", [("--num-samples", "0"), ("--num-samples", "x")])
def test_a_flag_is_refused_in_the_words_of_the_file(words: tuple[str, ...]) -> None:
    with pytest.raises(argparse.ArgumentError) as raised:
        parsed(*words)
    assert "expected an integer of at least 1 (responses per problem)" in str(raised.value)


@pytest.mark.parametrize("digits", [19, 400, 5000])
def test_an_integer_of_too_many_digits_is_refused_in_short(digits: int) -> None:
    with pytest.raises(argparse.ArgumentError) as raised:
        parsed("--num-samples", "1" * digits)
    assert "expected an integer of at least 1, with at most 18 digits" in str(raised.value)
    assert len(str(raised.value)) < 250
    with pytest.raises(UserError):
        Drawing(**{"model": "m", **parse_settings([f"num_samples={'1' * digits}"], Drawing, "option")})


def test_settings_are_texts_of_any_type() -> None:
    settings = ["num_samples=1_000", "greedy=TRUE", "model=a=b", "top_p=0.5"]
    found = parse_settings(settings, Drawing, "option")
    assert found == {"num_samples": 1000, "greedy": True, "model": "a=b", "top_p": 0.5}
