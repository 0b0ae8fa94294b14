"""A mistyped word gets the nearest valid one, from the parser that would have read it."""

import shlex
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.commands.parser import parse
from tests.deepscaler.commands.leaves import LEAVES

BARE = (int, float)
"""Types whose errors argparse words."""


def refused(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a wrong command ends with."""
    with pytest.raises(SystemExit) as stopped:
        main(shlex.split(line))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error.rstrip()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("evalute", "deepscaler: unrecognized command 'evalute' (did you mean 'evaluate'?); see deepscaler --help"),
        ("--verson", "deepscaler: unrecognized option '--verson' (did you mean '--version'?); see deepscaler --help"),
        (
            "evaluate --datasest aime",
            "deepscaler evaluate: unrecognized option '--datasest' for evaluate (did you mean '--datasets'?);"
            " see deepscaler evaluate --help",
        ),
        (
            "data prepare --sourc x",
            "deepscaler data prepare: unrecognized option '--sourc' for data prepare (did you mean '--source'?);"
            " see deepscaler data prepare --help",
        ),
        (
            "slurm init --partion gpu",
            "deepscaler slurm init: unrecognized option '--partion' for slurm init (did you mean '--partition'?);"
            " see deepscaler slurm init --help",
        ),
        (
            "k8s chek x",
            "deepscaler k8s: invalid value 'chek' for ACTION (did you mean 'check'?): expected one of init, setup,"
            " check, wait, stop, conduct; see deepscaler k8s --help",
        ),
        (
            "train 8k --device gpu",
            "deepscaler train: invalid value 'gpu' for --device (did you mean 'cpu'?): expected cuda or cpu;"
            " see deepscaler train --help",
        ),
        # the typo is named, not the value that it would have brought
        (
            "train --dry-runn",
            "deepscaler train: unrecognized option '--dry-runn' for train (did you mean '--dry-run'?);"
            " see deepscaler train --help",
        ),
        # of another command's options none is near enough to be meant
        ("train 8k --gpus 4", "deepscaler train: unrecognized option '--gpus' for train; see deepscaler train --help"),
        (
            "run 8k --eval aime --eval-options --gather",
            "deepscaler chain: unrecognized option '--gather' for chain (did you mean '--gate'?);"
            " write --eval-options=--gather if it belongs to --eval-options; see deepscaler chain --help",
        ),
    ],
)
def test_the_nearest_valid_word_is_named(line: str, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(line, capsys) == error


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("evaluate --num-samples abc", "invalid value 'abc' for --num-samples: expected an integer of at least 1"),
        ("evaluate --mod x", "unrecognized option '--mod'"),
        ("logs r --lines abc", "invalid value 'abc' for --lines: expected an integer of at least 1;"),
        ("logs r --lines 1.5", "invalid value '1.5' for --lines: expected an integer of at least 1;"),
        ("doctor --on slurm --nodes x", "invalid value 'x' for --nodes: expected an integer of at least 1;"),
        ("doctor --on slurm --nodes 0", "invalid value 0 for --nodes: expected an integer of at least 1;"),
        ("doctor --on slurm --gpus -3", "invalid value -3 for --gpus: expected an integer of at least 0;"),
        ("doctor --on slurm --minutes nan", "invalid value nan for --minutes: expected a number above 0;"),
        ("doctor --on slurm --minutes x", "invalid value 'x' for --minutes: expected a number above 0;"),
        ("metrics . --port abc", "invalid value 'abc' for --port: expected an integer of at least 1 and at most"),
        ("metrics . --port 99999999", "for --port: expected an integer of at least 1 and at most 65535;"),
        pytest.param(
            f"train 8k --keep {'1' * 5000}",
            "expected an integer of at least 1, with at most 18 digits",
            id="5000 digits",
        ),
        ("nothing", "unrecognized command 'nothing'"),
        ("data", "the following arguments are required: ACTION"),
        ("train", "the following arguments are required: RECIPE"),
        ("train 8k again", "unexpected argument 'again' for train"),
        ("train 8k --keep 0", "invalid value 0 for --keep: expected an integer of at least 1"),
        ("render --name '' train 8k", "invalid value '' for --name: expected a name"),
        ("train 8k --output-dir ''", "invalid value '' for --output-dir: it is not a name; give a folder"),
        ("train 8k --deadline soon", "train: --deadline 'soon' is neither a time from now"),
        ("train --dry-run=short 8k", "invalid value 'short' for --dry-run: expected plan or full"),
        ("status 'a\nb' c", "unexpected argument 'c' for status"),
        ("merge 'x\ny' --on 'a\nb'", "unrecognized option '--on' for merge"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(line: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told in refused(line, capsys)


def test_no_option_leaves_its_numbers_to_argparse() -> None:
    bare = [(name, action.dest) for name, parser in LEAVES.items() for action in parser._actions if action.type in BARE]
    assert bare == []


def test_what_was_typed_is_told_from_defaults() -> None:
    parsed = parse(["train", "8k", "--keep", "2", "--set=seed=7"])
    assert parsed.given == {"keep", "set"}
    assert parsed.device == "cuda"
    assert parse(["data", "prepare", "--missing", "aime"]).given == {"missing"}


def test_a_dry_run_takes_no_word_that_follows() -> None:
    assert parse(["train", "--dry-run", "8k"]).recipe == "8k"
    assert parse(["train", "--dry-run", "8k"]).dry_run == "plan"
    assert parse(["train", "8k"]).dry_run == ""
    assert parse(["render", "train", "8k", "--dry-run"]).arguments == ["train", "8k", "--dry-run"]


def test_a_chain_is_also_a_run() -> None:
    assert parse(["run", "8k", "16k"]) == parse(["chain", "8k", "16k"])


def test_the_original_evaluation_is_understood() -> None:
    line = "evaluate --model M --datasets aime amc math minerva olympiad_bench --output-dir D --num-samples 16"
    parsed = parse(line.split())
    assert parsed.datasets == ["aime", "amc", "math", "minerva", "olympiad_bench"]
    assert (parsed.model, parsed.output_dir, parsed.num_samples) == ("M", Path("D"), 16)
