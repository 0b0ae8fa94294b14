"""A record of a training becomes the same recipe again, and all that differs is listed before anything begins."""

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.data.sources import SOURCES
from deepscaler.models.provenance import git_revision, installed_versions, machine
from deepscaler.publish.manifest import FILE, portable
from deepscaler.publish.recorded import read_recorded, recipe_of
from deepscaler.publish.repeat import Here, compared_steps, repetition
from deepscaler.recipes.load import recipe_named
from deepscaler.recipes.published import NAMES
from deepscaler.recipes.stored import stored_options
from deepscaler.runs.metrics import read_metrics
from deepscaler.runs.reward_file import KEY
from deepscaler.runs.stages import Stage
from deepscaler.system.files import read_json, write_json, write_text
from tests.deepscaler.runs.runs import add_attempt, learning, make_run

REWARD = "def score(response, gold):\n    return 1.0\n"
SUMS = '{"problem": "1 + 1", "answer": "2"}\n'


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_model(folder: Path) -> str:
    """Writes weights, and returns their identity."""
    from deepscaler.models.model import hash_weights  # noqa: PLC0415

    write_text(folder / "model.safetensors", "weights")
    return hash_weights(folder)


def make_record(root: Path, **changes: Any) -> Path:
    """Returns a run of this machine that used a model, a data file and a reward file of its author's."""
    write_text(root / "author/sums.jsonl", SUMS)
    identity = make_model(root / "author/start")
    sums, model = str(root / "author/sums.jsonl"), str(root / "author/start")
    run = make_run(root / "run", model=model, train_dataset=(sums,), validation_dataset=(sums,), num_steps=8)
    add_attempt(run, learning(8))
    manifest = read_json(run.manifest_path)
    manifest["recipe"]["reward"] |= {"function": f"{root}/author/mine.py:score", "parts": {"function": 1.0}}
    manifest |= {
        "device": "cpu",
        "model": {"name": model, "identity": identity},
        "data": {"train.parquet": "01", "validation.parquet": "02", sums: "03"},
        "sets": {sums: {"sha256": "03", "rows": 1, "source": sums, "input_sha256": digest(SUMS), "revision": ""}},
        KEY: {"file": "mine.py", "function": "score", "sha256": digest(REWARD), "source": f"{root}/author/mine.py"},
        "kit": "0.1.0",
        "versions": installed_versions(),
        "git_revision": git_revision(),
        "hardware": machine(),
        **changes,
    }
    manifest[KEY]["text"] = REWARD
    write_json(run.manifest_path, manifest)
    return run.root


def card_of(run: Path, folder: Path, base_model: str = "") -> Path:
    """Returns a folder with nothing but the manifest that is published of a run."""
    stage = Stage(
        name="8k",
        run=read_run(run),
        manifest=read_json(run / "run.json"),
        start=0,
        metrics=read_metrics(read_run(run)),
    )
    write_json(folder / FILE, {"schema": 1, "kit": "0.1.0", "stages": portable([stage], base_model)})
    return folder / FILE


def read_run(run: Path) -> Any:
    from deepscaler.runs.folder import RunFolder  # noqa: PLC0415

    return RunFolder(run)


def rows(printed: str) -> list[str]:
    """Returns the first cell of each row of the table of differences."""
    lines = printed.split("\n")
    return [line.split("  ")[0].strip() for line in lines if line[:1].strip() and "──" not in line]


def test_a_run_on_its_own_machine_differs_in_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_record(tmp_path)
    assert main(["reproduce", str(run), "--output-dir", str(tmp_path / "again"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "Nothing differs from the record." in printed
    command = f"train {tmp_path}/again/recipes/8k.toml --output-dir {tmp_path}/again --device cpu"
    assert f"Would run: deepscaler {command}\n" in printed
    assert not (tmp_path / "again").exists()


def test_a_chain_on_its_own_machine_differs_in_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = make_record(tmp_path / "chain/1")
    make_record(tmp_path / "chain/2", model={"name": f"{first}/model", "identity": f"sha256:{'0' * 64}"})
    stages = [{"name": name, "directory": f"{number}/run"} for number, name in enumerate(("8k", "16k"), start=1)]
    write_json(tmp_path / "chain/chain.json", {"stages": stages})
    assert main(["reproduce", str(tmp_path / "chain"), "--output-dir", str(tmp_path / "again"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "Nothing differs from the record." in printed
    assert f"deepscaler chain {tmp_path}/again/recipes/8k.toml {tmp_path}/again/recipes/16k.toml" in printed


def test_a_card_elsewhere_says_what_has_to_be_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = card_of(make_record(tmp_path / "there"), tmp_path / "card")
    (tmp_path / "there").rename(tmp_path / "gone")
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", str(card), "--dry-run"]) == 2
    shown = capsys.readouterr()
    assert shown.err == "deepscaler: missing: model, sums.jsonl; the table above says what to give\n"
    assert "--file sums.jsonl=PATH" in " ".join(shown.out.split())
    given = ["--model", "gone/author/start", "--file", "sums.jsonl=gone/author/sums.jsonl"]
    assert main(["reproduce", str(card), *given, "--dry-run"]) == 0
    assert "Nothing differs from the record." in capsys.readouterr().out
    write_text(tmp_path / "other.jsonl", SUMS + SUMS)
    make_model(tmp_path / "other")
    write_text(tmp_path / "other/model.safetensors", "other weights")
    given = ["--model", "other", "--file", "sums.jsonl=other.jsonl", "--set", "num_steps=4"]
    assert main(["reproduce", str(card), *given]) == 2
    shown = capsys.readouterr()
    assert "3 differences, listed above: add --yes" in shown.err
    assert {"weights to start from", "sums.jsonl", "recipe.num_steps"} <= set(rows(shown.out))
    assert not (tmp_path / "outputs").exists(), "nothing is written before it was said to be right"


def test_a_card_that_names_the_base_on_the_hub_needs_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = card_of(make_record(tmp_path / "there"), tmp_path / "card", "nobody/base")
    (tmp_path / "there").rename(tmp_path / "gone")
    given = ["--file", f"sums.jsonl={tmp_path}/gone/author/sums.jsonl"]
    assert main(["reproduce", str(card), *given, "--dry-run"]) == 0
    assert "nobody/base @ main not on this machine: would be fetched" in " ".join(capsys.readouterr().out.split())
    wanted = ["--repo", "lab/again", "--base-model", "/home/ana/base", "--dry-run"]
    assert main(["publish", str(tmp_path), *wanted]) == 2
    assert "invalid value '/home/ana/base' for --base-model: expected its hub id, ORG/NAME" in capsys.readouterr().err


def test_versions_hardware_code_and_data_that_differ_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run = make_record(
        tmp_path,
        versions={**installed_versions(), "verl": "0.8.0", "flash-attn": "2.8.3"},
        hardware={"gpus": ["NVIDIA A100-SXM4-80GB"] * 8, "cpu": "EPYC", "cores": 999},
        git_revision="abc1234",
        kit="0.0.9",
    )
    manifest = read_json(run / "run.json")
    manifest["recipe"] |= {"validation_dataset": ["aime"]}
    manifest["data"]["aime"], manifest["sets"]["aime"] = "ff" * 32, {"sha256": "ff" * 32, "revision": "old"}
    write_json(run / "run.json", manifest)
    write_json(tmp_path / "data/manifest.json", {"aime": {"output_sha256": "aa" * 32, "revision": "new"}})
    assert main(["reproduce", str(run), "--dry-run", "--data-dir", str(tmp_path / "data")]) == 0
    printed = capsys.readouterr().out
    assert {"verl", "flash-attn", "GPUs", "processor", "cores", "its revision", "deepscaler", "aime"} <= set(
        rows(printed)
    )
    told = " ".join(printed.split())
    for one in ("8 x NVIDIA A100-SXM4-80GB", "not installed", "revision old, sha256 ffffffffffff", "revision new"):
        assert one in told
    assert shlex.join(["--data-dir", str(tmp_path / "data")]) in told


def test_an_older_record_says_what_it_lacks_and_a_copy_of_run_json_suffices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_record(tmp_path)
    manifest = read_json(run / "run.json")
    for name in ("sets", "hardware", "kit"):
        del manifest[name]
    del manifest["recipe"]["keep_best"]
    manifest["recipe"]["of_a_later_kit"] = 7
    copy = tmp_path / "elsewhere/run.json"
    write_json(copy, manifest)
    assert main(["reproduce", str(copy), "--dry-run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for one in (
        *("where the data is from not recorded", "what it ran on not recorded", "figures to compare with not recorded"),
        *("recipe.of_a_later_kit 7 unknown to this kit", "this kit's defaults of keep_best"),
    ):
        assert one in told
    del manifest[KEY]["text"]
    write_json(copy, manifest)
    assert main(["reproduce", str(copy), "--dry-run"]) == 2
    assert "missing: the text of the reward function" in capsys.readouterr().err
    write_text(tmp_path / "mine.py", REWARD)
    assert main(["reproduce", str(copy), "--dry-run", "--file", f"mine.py={tmp_path}/mine.py"]) == 0


def test_what_is_no_record_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "later.json", {"schema": 2, "stages": [{}]})
    write_json(tmp_path / "torn.json", {"schema": 1, "stages": [{"name": "8k"}]})
    write_text(tmp_path / "text.json", "{")
    for name in ("later.json", "torn.json", "text.json", "absent.json", "."):
        assert main(["reproduce", str(tmp_path / name), "--dry-run"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert error.startswith("deepscaler: ")


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_comes_back_from_its_record(name: str, tmp_path: Path) -> None:
    recipe = recipe_named(name)
    stored = json.loads(json.dumps(stored_options(to_dict(recipe))))
    again, unknown, lacking = recipe_of(json.loads(json.dumps(to_dict(recipe))))
    assert (again, unknown, lacking) == (recipe, [], [])
    assert stored_options(to_dict(again)) == stored


def to_dict(recipe: Any) -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    return asdict(recipe)


def test_sets_of_the_hub_are_pinned_to_the_recorded_commit(tmp_path: Path) -> None:
    run = make_record(tmp_path)
    manifest = read_json(run / "run.json")
    manifest["recipe"]["train_dataset"] = ["hub:openai/gsm8k/main"]
    pinned = "hub:openai/gsm8k/main@e53f048856ff4f594e959d75785d2c2d37b678ee:train"
    manifest["data"]["hub:openai/gsm8k/main"] = "07"
    manifest["sets"]["hub:openai/gsm8k/main"] = {"sha256": "07", "source": pinned, "revision": "e53f048856ff"}
    write_json(run / "run.json", manifest)
    recorded = read_recorded(run)
    here = Here(
        files={}, model="", data_dir=tmp_path / "data", settings=(), dry_run=True, output_dir=tmp_path / "again"
    )
    found = repetition(recorded, recorded.stages[0], here)
    assert found.recipe is not None
    assert found.recipe.train_dataset == (pinned,)
    assert found.recipe.reward.function == f"{tmp_path}/again/reproduced/mine.py:score"
    assert found.reward == (tmp_path / "again/reproduced/mine.py", REWARD)


def test_first_steps_are_compared_to_the_last_digit(tmp_path: Path) -> None:
    run = make_record(tmp_path)
    stage = json.loads(json.dumps(read_recorded(run).stages[0]))
    metrics = read_metrics(read_run(run))
    same, different = compared_steps(stage, metrics)
    assert (same > 20, different) == (True, [])
    assert not any("timing" in key for values in stage["first_steps"].values() for key in values)
    metrics[2]["critic/score/mean"] += 1e-12
    fewer, different = compared_steps(stage, metrics)
    assert fewer == same - 1
    assert different[0].startswith("step 2, critic/score/mean: ")


def test_the_sets_here_have_revisions() -> None:
    assert all(source.revision for source in SOURCES.values() if source.file)
