"""Data of one's own reaches pods that see nothing of this machine."""

from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.data.prepare import load_problems
from deepscaler.kubernetes.render.inputs import datasets_by_file, packed, registered_by_file
from deepscaler.recipes.load import recipe_named
from deepscaler.recipes.recipe import with_settings
from deepscaler.system.paths import data_dir


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """A file that was registered as `mine`."""
    file = tmp_path / "sums.jsonl"
    file.write_text('{"problem": "1+1?", "answer": "2"}\n{"problem": "1+2?", "answer": "3"}\n')
    assert main(["data", "prepare", str(file), "--name", "mine"]) == 0
    return file


@pytest.mark.usefixtures("sums")
def test_a_registered_set_goes_along_with_its_name_and_its_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = load_problems("mine", data_dir())
    _, _, [there, known], files = packed([], datasets_by_file(["mine", "aime"]))
    assert (there, known, list(files)) == ("/inputs/mine.parquet", "aime", ["mine.parquet"])
    (tmp_path / "mine.parquet").write_bytes(files["mine.parquet"])
    monkeypatch.setenv("DEEPSCALER_CACHE", str(tmp_path / "pod"))
    assert main(["data", "prepare", str(tmp_path / "mine.parquet"), "--name", "mine"]) == 0
    assert load_problems("mine", data_dir()) == here


@pytest.mark.usefixtures("sums")
def test_a_recipe_names_the_file_of_a_registered_set() -> None:
    recipe = with_settings(recipe_named("quickstart"), ["train_dataset=mine"])
    [packed_recipe], _, _, files = packed([registered_by_file(recipe)])
    assert packed_recipe.train_dataset == ("/inputs/mine.parquet",)
    assert packed_recipe.validation_dataset == recipe.validation_dataset
    assert sorted(files) == ["mine.parquet", "quickstart.toml"]
    assert b'"/inputs/mine.parquet"' in files["quickstart.toml"]
