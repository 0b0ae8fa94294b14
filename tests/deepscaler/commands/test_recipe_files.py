"""Every command that takes a recipe takes a file, and what it starts elsewhere finds the same recipe and its files."""

import shlex
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from deepscaler.cli import main
from deepscaler.commands.parser import parse
from deepscaler.data.compose import compose
from deepscaler.data.table import problems_of
from deepscaler.kubernetes.check.check import Report, check_text
from deepscaler.kubernetes.render import inputs
from deepscaler.recipes.load import load_recipe
from deepscaler.recipes.recipe import Recipe
from deepscaler.rewards.function import split_function
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.reward_file import called_file, keep_copy
from deepscaler.system.files import write_json
from deepscaler.training.manifest import TrainOptions, mixture_of

SITE = 'runtime = "bare"\n'
REWARD = "def score(response):\n\treturn 1.0  \n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    text = 'extends = "8k"\nmax_response_length = 4096\nlearning_rate = 2e-6\nprofile = "fast"\n'
    (tmp_path / "mine.toml").write_text(text)
    own = 'validation_dataset = "arithmetic"\ntrain_dataset = ["my sums.jsonl"]\n[data]\nproblem = "question"\n'
    (tmp_path / "own.toml").write_text(f'{text}{own}[reward]\nfunction = "r.py:score"\nparts = {{function = 1}}\n')
    (tmp_path / "my sums.jsonl").write_text('{"question": "1+1", "answer": "2"}\n')
    (tmp_path / "r.py").write_text(REWARD)
    (tmp_path / "site.toml").write_text(SITE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(command: str) -> Recipe:
    """Returns the recipe that a command trains."""
    parsed = parse(shlex.split(command.removeprefix("deepscaler ")))
    return load_recipe(parsed.recipe, parsed.profile, parsed.set)


def submitted(command: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Returns the words of the first job that a command would submit."""
    assert (
        main([*shlex.split(command), "--on", "slurm", "--site", "site.toml", "--output-dir", "out", "--dry-run"]) == 0
    )
    job = next(line for line in capsys.readouterr().out.splitlines() if ": deepscaler " in line)
    return shlex.split(job.partition(": deepscaler ")[2])


def test_a_file_is_trained_and_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "mine.toml", "--dry-run", "--output-dir", str(folder / "out")]) == 0
    shown = capsys.readouterr().out
    assert "mine (fast) has 1040 steps" in " ".join(shown.split())
    assert "data.max_response_length=4096" in shown
    assert main(["recipes", "8k", "mine.toml"]) == 0
    assert "4,096" in capsys.readouterr().out


def test_a_published_recipe_stays_a_name_with_what_was_typed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = submitted("train 8k --set seed=3 --profile fast --verl data.shuffle=false", capsys)
    assert words[:2] == ["train", "8k"]
    assert " ".join(words[4:]) == "--set seed=3 --set verl.data.shuffle=false --profile fast"


@pytest.mark.parametrize("command", ["train own.toml --set seed=3", "chain own.toml --set seed=3"])
def test_a_job_of_slurm_reads_everything_from_the_runs_folder(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = submitted(command, capsys)
    out = folder / "out"
    assert words[1] == str(out / "recipes/own.toml")  # where a container sees it, and nobody edits it
    assert "--set" not in words
    assert not out.exists()
    given = load_recipe(str(folder / "own.toml"), None, ["seed=3"])
    monkeypatch.setattr(f"deepscaler.commands.{command.split(maxsplit=1)[0]}.submit", lambda *_: 0)  # no SLURM is here
    assert main([*command.split(), "--on", "slurm", "--site", "site.toml", "--output-dir", "out"]) == 0
    for name in ("mine.toml", "own.toml", "my sums.jsonl", "r.py"):
        (folder / name).unlink()
    monkeypatch.chdir("/")
    assert load_recipe(words[1]) == given
    run = RunFolder(out if command.startswith("train") else out / "1-own")
    file, name = called_file(run, given.reward.function)
    assert (file.read_text(), name) == (REWARD, "score")
    assert split_function(given.reward.function)[0] != file
    data = compose(mixture_of(given), run.root, folder / "cache")
    assert [problem.golds for problem in problems_of(data.folder / "sources/my-sums.parquet")] == [("2",)]


def test_a_chain_keeps_its_recipes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chain", "2k", "own.toml", "--output-dir", str(folder / "out"), "--dry-run"]) == 0
    train = [line for line in capsys.readouterr().out.splitlines() if line.startswith("deepscaler train")]
    assert [shlex.split(line)[2] for line in train] == [f"{folder}/out/recipes/{name}.toml" for name in ("2k", "own")]
    assert main(["chain", "2k", "4k", "--set", "seed=3", "--output-dir", str(folder / "out"), "--dry-run"]) == 0
    train = [line for line in capsys.readouterr().out.splitlines() if line.startswith("deepscaler train")]
    assert [(loaded(line).name, loaded(line).seed) for line in train] == [("2k", 3), ("4k", 3)]


@pytest.mark.parametrize("command", ["train mine.toml", "chain mine.toml"])
def test_a_run_that_has_begun_is_not_changed_by_its_file(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(str(folder / "mine.toml"))
    run = folder / "out" / ("1-mine" if command.startswith("chain") else "")
    write_json(run / "run.json", {"recipe": asdict(recipe), "device": TrainOptions(run_dir=run).device})
    submitted(command, capsys)
    (folder / "mine.toml").write_text('extends = "8k"\nseed = 7\nprofile = "fast"\nmax_response_length = 4096\n')
    arguments = [*command.split(), "--on", "slurm", "--site", "site.toml", "--output-dir", "out"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "holds another run" in error
    assert "seed: 42 -> 7" in error
    assert not (folder / "out/recipes").exists()


@pytest.mark.parametrize("command", ["train own.toml", "chain own.toml"])
def test_what_was_edited_since_a_run_began_is_said_when_it_is_submitted_again(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"deepscaler.commands.{command.split(maxsplit=1)[0]}.submit", lambda *_: 0)  # no SLURM is here
    submit = [*command.split(), "--on", "slurm", "--site", "site.toml", "--output-dir", "out"]
    assert main(submit) == 0
    recipe, run = load_recipe("own.toml"), RunFolder(folder / "out" / ("1-own" if command.startswith("chain") else ""))
    bound = keep_copy(run, recipe.reward.function)
    compose(mixture_of(recipe), run.root, folder / "cache")
    write_json(run.manifest_path, {"recipe": asdict(recipe), "device": "cuda", "reward": bound})
    assert "Note: " not in capsys.readouterr().out
    (folder / "r.py").write_text(REWARD + "\n")
    (folder / "my sums.jsonl").write_text('{"question": "1+2", "answer": "3"}\n')
    assert main(submit) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "r.py was edited since; this run continues with its own copy" in said
    assert "my sums.jsonl has changed since this run copied it: the run continues with its copy" in said
    assert called_file(run, recipe.reward.function)[0].read_text() == REWARD


def test_a_rayjob_brings_recipe_reward_and_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "train", "own.toml", "--set", "seed=3", "--keep", "1"]) == 0
    text = capsys.readouterr().out
    job, files = yaml.safe_load_all(text)
    assert job["spec"]["entrypoint"] == "exec deepscaler train /inputs/own.toml --keep 1 --output-dir /runs/own"
    name = files["metadata"]["name"]
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert {"name": "inputs", "configMap": {"name": name}} in pod["volumes"]
        mount = {"name": "inputs", "mountPath": "/inputs", "readOnly": True}
        assert mount in pod["containers"][0]["volumeMounts"]
    assert files["immutable"] is True
    content = {name: text.encode() for name, text in files["data"].items()}
    assert set(content) == {"own.toml", "r.py", "my_sums.jsonl"}
    assert name == inputs.map_name("train-own", content), "the hash of what it holds is in its name"
    assert files["data"]["r.py"] == REWARD
    (folder / "in_pod.toml").write_text(files["data"]["own.toml"])
    given, found = load_recipe("own.toml", None, ["seed=3", "keep=1"]), load_recipe("in_pod.toml")
    assert found.train_dataset == ("/inputs/my_sums.jsonl",)
    assert found == replace(given, train_dataset=found.train_dataset, reward=found.reward)
    report = Report()
    check_text(text, "job.yaml", report)
    assert (report.findings, report.num_objects, report.unchecked) == ([], 2, set())
    (folder / "job.yaml").write_text(text)
    assert main(["k8s", "check", "job.yaml"]) == 0
    capsys.readouterr()
    (folder / "r.py").write_text(REWARD + "\n")
    assert main(["render", "train", "own.toml", "--set", "seed=3", "--keep", "1"]) == 0
    _, other = yaml.safe_load_all(capsys.readouterr().out)
    assert other["metadata"]["name"] != name  # a Secret or ConfigMap that changes under a run would change the run


def test_a_chains_rayjob_takes_recipe_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "chain", "mine.toml", "8k", "--eval", "aime", "--gate"]) == 0
    job, files = yaml.safe_load_all(capsys.readouterr().out)
    command = job["spec"]["entrypoint"].removeprefix("trap true TERM; ").removesuffix(" || test $? -eq 3")
    assert command == (
        "deepscaler chain /inputs/mine.toml /inputs/8k.toml --eval aime --gate --output-dir /runs/mine-8k"
    )
    assert set(files["data"]) == {"mine.toml", "8k.toml"}
    parse(shlex.split(command)[1:])


def test_bytes_and_any_text_survive_the_manifest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "---\n  x: &a *b\n\ttab  \n#\n'\"$(x) \u2028 ü\n\n"
    files = {"a.txt": hostile.encode(), "b.parquet": bytes(range(256)), "c.py": b"x = 1", "d.jsonl": b"a\r\n", "e": b""}
    manifest = inputs.config_map("job", files, {})
    found = yaml.safe_load(inputs.to_yaml(manifest))
    assert found == manifest
    import base64  # noqa: PLC0415

    back = {name: text.encode() for name, text in found.get("data", {}).items()}
    back |= {name: base64.b64decode(text) for name, text in found.get("binaryData", {}).items()}
    assert back == files
    (folder / "my sums.jsonl").write_bytes(b"x" * inputs.MOST_BYTES)
    assert main(["render", "train", "own.toml"]) == 2
    error = capsys.readouterr().err
    assert "which is what a ConfigMap takes: put it on a volume" in error


@pytest.mark.parametrize("command", ["recipes", "train", "chain", "render train", "render chain"])
def test_every_command_names_file_line_and_nearest_key(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "base.toml").write_text('extends = "8k"\n\n[verl]\ndata.shufle = false\n')
    (folder / "later.toml").write_text('extends = "base.toml"\n')
    assert main([*command.split(), "later.toml"]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"deepscaler: {folder}/base.toml, line 4: unknown verl key 'data.shufle' (did you mean 'data.shuffle'?)\n"
    )
    assert main([*command.split(), "8k", "--verl", "data.shuffle=no"]) == 2
    assert "deepscaler: --verl: invalid value 'no' for verl's data.shuffle" in capsys.readouterr().err
    assert {path.name for path in folder.iterdir()} >= {"base.toml"}
    assert not (folder / "outputs").exists()
