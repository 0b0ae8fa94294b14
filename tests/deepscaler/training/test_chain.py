"""A chain is a list of commands, each stage from the one before."""

from dataclasses import replace
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.commands.parser import parse
from deepscaler.recipes.published import RECIPES
from deepscaler.runs.chain import Chain, ChainOptions, build_chain, check_state, write_state
from deepscaler.system.errors import UserError


def chain(root: Path, *names: str, **options: object) -> Chain:
    return build_chain(root, [RECIPES[name] for name in names], ["seed=7"], ChainOptions(**options))  # type: ignore[arg-type]


def test_each_stage_starts_from_the_merged_model_of_the_one_before(tmp_path: Path) -> None:
    steps = chain(tmp_path, "8k", "16k", "24k", datasets=("aime",)).steps()
    assert [(step.kind, step.stage.name) for step in steps] == [
        ("evaluate", "start"),
        *[(kind, name) for name in ("8k", "16k", "24k") for kind in ("train", "merge", "evaluate")],
    ]
    trains = [step.command for step in steps if step.kind == "train"]
    assert trains[0][-1] == "model=deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
    assert trains[1][-1] == f"model={tmp_path}/1-8k/model"
    assert trains[2][-1] == f"model={tmp_path}/2-16k/model"
    assert all("seed=7" in train for train in trains)


def test_every_command_of_a_chain_is_one_of_the_kit(tmp_path: Path) -> None:
    for step in chain(tmp_path, "8k", "16k", datasets=("aime", "amc"), train_options=("--device", "cpu")).steps():
        parse(step.command)


def test_a_folder_keeps_its_chain_which_may_grow(tmp_path: Path) -> None:
    write_state(chain(tmp_path, "8k"), {})
    check_state(chain(tmp_path, "8k", "16k"))
    with pytest.raises(UserError, match="holds the chain 8k"):
        check_state(chain(tmp_path, "16k"))
    with pytest.raises(UserError, match="another --output-dir"):
        check_state(replace(chain(tmp_path, "8k"), stages=chain(tmp_path, "16k").stages))


def test_wrong_chains_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="different recipes"):
        chain(tmp_path, "8k", "8k")
    with pytest.raises(UserError, match="--eval"):
        chain(tmp_path, "8k", gate=True)
    assert main(["run", "8k", "17k", "--dry-run"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--eval", "amie"], "unknown data set 'amie' (did you mean 'aime'?)"),
        (["--eval", "aime", "--eval-options", "'open"], "cannot be read: No closing quotation"),
        (["--eval", "aime", "--eval-options", "--bogus 3"], "unrecognized option '--bogus' for evaluate"),
        (
            ["--eval", "aime", "--eval-options=--max-tokens=0"],
            "invalid value 0 for --max-tokens: expected",
        ),
    ],
)
def test_what_an_evaluation_would_refuse_is_refused_before_the_training(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "8k", *options, "--output-dir", str(tmp_path / "out")]
    if "--bogus" in options[-1] or "=0" in options[-1]:  # the parser itself refuses them
        with pytest.raises(SystemExit, match="2"):
            main(command)
    else:
        assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_dry_run_prints_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a chain"
    assert main(["run", "8k", "16k", "--eval", "aime", "--deadline", "2h", "--output-dir", str(out), "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 7
    assert all(line.startswith("deepscaler ") for line in shown)
    assert not out.exists()
