"""Every command that takes a recipe takes a file, and what it starts elsewhere finds the same recipe."""

import shlex
from pathlib import Path

import pytest
import yaml

from deepscaler.cli import main
from deepscaler.commands.parser import parse
from deepscaler.recipes.load import load_recipe
from deepscaler.recipes.recipe import Recipe

SITE = 'runtime = "bare"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    text = 'extends = "8k"\nmax_response_length = 4096\nlearning_rate = 2e-6\nprofile = "fast"\n'
    (tmp_path / "mine.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(command: str) -> Recipe:
    """Returns the recipe that a command trains."""
    parsed = parse(shlex.split(command.removeprefix("deepscaler ")))
    return load_recipe(parsed.recipe, parsed.profile, parsed.set)


def test_a_file_is_trained_and_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "mine.toml", "--dry-run", "--output-dir", str(folder / "out")]) == 0
    shown = capsys.readouterr().out
    assert "mine (fast) has 1040 steps" in " ".join(shown.split())
    assert "data.max_response_length=4096" in shown
    assert main(["recipes", "8k", "mine.toml"]) == 0
    assert "4,096" in capsys.readouterr().out


def test_a_chain_names_the_file_wherever_its_steps_run(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["chain", "2k", "mine.toml", "--output-dir", str(folder / "out"), "--dry-run"]) == 0
    train = [line for line in capsys.readouterr().out.splitlines() if line.startswith("deepscaler train")]
    monkeypatch.chdir("/")
    assert [loaded(line).name for line in train] == ["2k", "mine"]
    assert loaded(train[1]).learning_rate == 2e-6


@pytest.mark.parametrize("command", ["train mine.toml --set seed=3", "chain mine.toml --set seed=3"])
def test_a_job_of_slurm_names_the_file_wherever_it_runs(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "site.toml").write_text(SITE)
    assert main([*command.split(), "--on", "slurm", "--site", "site.toml", "--output-dir", "out", "--dry-run"]) == 0
    job = next(line for line in capsys.readouterr().out.splitlines() if ": deepscaler " in line)
    monkeypatch.chdir("/")
    words = shlex.split(job.partition(": deepscaler ")[2])
    assert load_recipe(words[1], None, ["seed=3"]).max_response_length == 4096
    assert "seed=3" in words


def test_a_rayjob_has_no_file_and_trains_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "train", "mine.toml", "--set", "seed=3", "--set=group_size=16", "--keep", "1"]) == 0
    job = yaml.safe_load(capsys.readouterr().out)
    entrypoint = job["spec"]["entrypoint"]
    assert "mine.toml" not in entrypoint
    assert "--keep 1" in entrypoint
    assert loaded(entrypoint) == load_recipe("mine.toml", None, ["seed=3", "group_size=16"])
    assert main(["render", "chain", "mine.toml", "16k"]) == 2
