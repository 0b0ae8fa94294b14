"""A dry run prints the very command that a start launches, and writes nothing."""

import json
import os
import shlex
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.output.terminal import PlainConsole
from deepscaler.recipes.load import load_recipe
from deepscaler.recipes.published import RECIPES
from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.fence import acquire
from deepscaler.runs.folder import RunFolder
from deepscaler.training.launch import prepare_launch
from deepscaler.training.manifest import TrainOptions, find_inputs
from deepscaler.training.start import Start
from tests.deepscaler.runs.runs import add_attempt, make_run, seal_checkpoint

TRAINER = """
import json, os, sys
with open(os.environ["DEEPSCALER_RUN_DIR"] + "/seen.json", "w") as file:
    json.dump({"command": sys.orig_argv, "environment": dict(os.environ), "folder": os.getcwd()}, file)
"""


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, str], list[str]]:
    """The environment and the command that `deepscaler train ... --dry-run` prints, as a shell reads them."""
    assert main(["train", *arguments, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    words = shlex.split(shown[shown.index("\nenv ") :].replace("\\\n", " "))[1:]
    first = next(index for index, word in enumerate(words) if word.endswith("python"))
    return dict(word.split("=", 1) for word in words[:first]), words[first:]


def launched(root: Path, name: str, profile: str, settings: list[str], device: str) -> tuple[dict[str, str], list[str]]:
    """The environment and the command of a real start of the same, which is not begun."""
    recipe = load_recipe(name, profile, settings)
    options = TrainOptions(run_dir=root, device=device, wandb="offline")
    run = RunFolder(root)
    attempt, checkpoint = acquire(run, print), next(iter(sealed(run)), None)
    inputs, _ = find_inputs(recipe, options)
    start = Start(run=run, attempt=attempt, recipe=recipe, options=options, inputs=inputs, checkpoint=checkpoint)
    launch = prepare_launch(start, PlainConsole())
    launch.clean_up()
    return launch.environment, launch.command


def tree(folder: Path) -> list[str]:
    return sorted(f"{path.relative_to(folder)} {path.lstat().st_mtime_ns}" for path in folder.rglob("*"))


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("profile", ["faithful", "fast"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_dry_run_prints_the_command_that_is_launched(
    name: str, profile: str, device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, settings = tmp_path / "a run", ["model=/a model", *(["entropy_coefficient=0"] if device == "cpu" else [])]
    flags = [part for setting in settings for part in ("--set", setting)]
    flags += ["--profile", profile, "--device", device, "--output-dir", str(root), "--wandb", "offline"]
    environment, command = printed(capsys, name, *flags)
    assert not root.exists()
    real_environment, real_command = launched(root, name, profile, settings, device)
    assert command == real_command
    assert environment.items() <= real_environment.items()
    added = {key for key, value in real_environment.items() if os.environ.get(key) != value}
    assert added - environment.keys() == {"RAY_TMPDIR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"}


def test_a_dry_run_prints_how_a_run_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    add_attempt(run, [], ended="2026-11-24T08:00:00+0000")
    seal_checkpoint(run.root, 4)
    settings = ["num_steps=8", "validate_every=4"]
    before = tree(tmp_path)
    flags = [part for setting in settings for part in ("--set", setting)]
    _, command = printed(capsys, "8k", *flags, "--output-dir", str(run.root), "--wandb", "offline")
    assert tree(tmp_path) == before
    assert f'trainer.resume_from_path="{run.root}/attempts/0002/resume/global_step_4"' in command
    assert command == launched(run.root, "8k", "faithful", settings, "cuda")[1]


def replace_trainer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has TRAINER take the place of verl's."""
    trainer = folder / "fake/verl/trainer"
    trainer.mkdir(parents=True)
    for package in (trainer, trainer.parent):
        (package / "__init__.py").touch()
    (trainer / "main_ppo.py").write_text(TRAINER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["fake", *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.chdir(folder)


def test_verl_is_started_with_the_printed_command_outside_the_working_directory(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_trainer(tmp_path, monkeypatch)
    root = tmp_path / "run"
    command = ["quickstart", "--device", "cpu", "--output-dir", str(root), "--set", f"model={model_folder}"]
    environment, wanted = printed(capsys, *command)
    assert main(["train", *command]) == 1, "a trainer that saves nothing has failed"
    seen = json.loads((root / "seen.json").read_text())
    assert seen["command"] == wanted
    assert environment.items() <= seen["environment"].items()
    assert seen["folder"] == str(root / "attempts/0001")
    assert not Path(seen["environment"]["RAY_TMPDIR"]).exists()


def test_a_dry_run_refuses_a_folder_of_another_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path)
    assert main(["train", "16k", "--output-dir", str(tmp_path), "--dry-run"]) == 2
    assert "holds another run (" in capsys.readouterr().err


def test_a_run_of_somebody_else_is_refused_by_name(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_trainer(tmp_path, monkeypatch)
    command = ["train", "quickstart", "--device", "cpu", "--output-dir", "run", "--set", f"model={model_folder}"]
    monkeypatch.setenv("DEEPSCALER_OWNER", "jane as research")
    assert main(command) == 1, "a trainer that saves nothing has failed"
    monkeypatch.setenv("DEEPSCALER_OWNER", "joe as research")
    assert main(command) == 2
    assert "run is a run of jane as research, and this job is of joe as research: give" in capsys.readouterr().err
    for owner in ("jane as research", ""):  # her own job; a shell in a pod
        monkeypatch.setenv("DEEPSCALER_OWNER", owner)
        assert main(command) == 1
    assert json.loads((tmp_path / "run/run.json").read_text())["owner"] == "jane as research"


def test_compiled_kernels_outlive_a_start_below_the_cache_unless_the_site_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEEPSCALER_CACHE", str(tmp_path))
    for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "VLLM_DISABLE_COMPILE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VLLM_CACHE_ROOT", "/scratch/vllm")
    environment, command = printed(capsys, "8k")
    assert environment["VLLM_DISABLE_COMPILE_CACHE"] == "0"
    assert environment["TRITON_CACHE_DIR"] == f"{tmp_path}/compiled/triton"
    assert "VLLM_CACHE_ROOT" not in environment, "a Ray worker of another machine may have it elsewhere"
    assert any(word.startswith("+ray_kwargs.ray_init.runtime_env.env_vars.TRITON_CACHE_DIR") for word in command)
