"""A run keeps its own copies of the files that its recipe names."""

import json
from pathlib import Path

import pytest

from deepscaler.recipes import travel
from deepscaler.recipes.load import load_recipe
from deepscaler.recipes.recipe import Recipe
from deepscaler.recipes.travel import files_of, taken_along
from deepscaler.system.errors import UserError

TEXT = 'extends = "8k"\ntrain_dataset = ["a.jsonl", "more/a.jsonl", "deepscaler"]\nvalidation_dataset = "a.jsonl"\n'


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "more").mkdir()
    (tmp_path / "a.jsonl").write_text('{"problem": "1+1", "answer": "2"}\n')
    (tmp_path / "more/a.jsonl").write_text('{"problem": "1+2", "answer": "3"}\n')
    (tmp_path / "r.py").write_text("def score(**_):\n    return 1.0\n")
    (tmp_path / "mine.toml").write_text(f'{TEXT}[reward]\nfunction = "r.py:score"\nparts = {{function = 1}}\n')
    return load_recipe(str(tmp_path / "mine.toml"))


def test_every_file_is_copied_once_and_named(recipe: Recipe, tmp_path: Path) -> None:
    run, said = tmp_path / "run", []
    copied = taken_along(recipe, run, said.append, dry_run=False)
    inputs = run / "inputs"
    assert copied.train_dataset == (f"{inputs}/a.jsonl", f"{inputs}/2-a.jsonl", "deepscaler")
    assert copied.validation_dataset == (f"{inputs}/a.jsonl",)
    assert copied.reward.function == f"{inputs}/r.py:score"
    assert [path.read_bytes() for path in files_of(copied)] == [path.read_bytes() for path in files_of(recipe)]
    assert taken_along(recipe, run, said.append, dry_run=False) == copied
    assert taken_along(copied, run, said.append, dry_run=False) == copied
    assert said == []
    manifest = json.loads((inputs / "files.json").read_text())
    assert {entry["copy"] for entry in manifest.values()} == {path.name for path in inputs.iterdir()} - {"files.json"}


def test_what_happens_to_a_file_later_changes_nothing_and_is_said(recipe: Recipe, tmp_path: Path) -> None:
    run, said = tmp_path / "run", []
    copied = taken_along(recipe, run, said.append, dry_run=False)
    before = Path(copied.train_dataset[0]).read_bytes()
    (tmp_path / "a.jsonl").write_text('{"problem": "1+1", "answer": "3"}\n')
    assert taken_along(recipe, run, said.append, dry_run=False) == copied
    assert Path(copied.train_dataset[0]).read_bytes() == before
    (told,) = said
    assert f"{tmp_path}/a.jsonl has changed since this run began" in told


def test_a_dry_run_copies_nothing_and_names_the_same(recipe: Recipe, tmp_path: Path) -> None:
    planned = taken_along(recipe, tmp_path / "run", print, dry_run=True)
    assert not (tmp_path / "run").exists()
    assert taken_along(recipe, tmp_path / "run", print, dry_run=False) == planned


def test_a_missing_file_and_too_much_of_them_are_refused(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.py").unlink()
    with pytest.raises(UserError, match=r"r\.py, which is not there: check the path"):
        taken_along(recipe, tmp_path / "run", print, dry_run=False)
    (tmp_path / "r.py").write_text("")
    monkeypatch.setattr(travel, "MOST_BYTES", 40)
    with pytest.raises(UserError, match="go along with a run"):
        taken_along(recipe, tmp_path / "run", print, dry_run=False)
    assert not (tmp_path / "run").exists()
