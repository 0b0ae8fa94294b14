"""A card compares a recipe with the published one that it comes from."""

from dataclasses import asdict
from pathlib import Path

import pytest

from deepscaler.publish.card import _recipe
from deepscaler.recipes.load import load_recipe
from deepscaler.recipes.published import NAMES
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.stages import Stage

OWN = """
name = "mine"
extends = "{base}"
model = "org/mine"
temperature = 0.87
seed = 7
[verl]
"trainer.balance_batch" = true
"""


def shown(recipe: str, tmp_path: Path) -> str:
    manifest = {"recipe": asdict(load_recipe(recipe)), "device": "cuda"}
    return _recipe([Stage(name="mine", run=RunFolder(tmp_path), manifest=manifest, start=0, metrics={})])


@pytest.mark.parametrize("base", NAMES)
def test_an_own_recipe_is_compared_with_what_it_extends(base: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(OWN.format(base=base))
    told = shown(str(tmp_path / "mine.toml"), tmp_path)
    assert f"beside the published recipe `{base}`, the nearest one:" in told
    fields = [line.split("|")[1].strip() for line in told.splitlines() if line.startswith("| ")]
    assert set(fields) - {"field", "---"} == {"temperature", "seed", "verl.trainer.balance_batch"}


def test_a_published_recipe_is_compared_with_itself(tmp_path: Path) -> None:
    assert "beside the published recipe `dapo`: no deviation." in shown("dapo", tmp_path)
