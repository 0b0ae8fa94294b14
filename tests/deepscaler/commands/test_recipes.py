"""What `deepscaler recipes` prints fits a terminal of 80 columns, and breaks no name and no value."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepscaler.recipes.load import load_recipe
from deepscaler.recipes.published import RECIPES
from deepscaler.recipes.recipe import Recipe
from deepscaler.system.options import options_of

FIELDS = [name for name in options_of(Recipe) if name not in ("name", "verl")]


def shown(*arguments: str, columns: int = 80) -> list[str]:
    environment = {**os.environ, "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "deepscaler", "recipes", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()


@pytest.mark.parametrize("options", [(), ("--sources",), ("--profile", "fast")])
def test_one_recipe_fits_with_every_name_and_value_whole(options: tuple[str, ...]) -> None:
    lines = shown("8k", *options)
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: line.split()[1] for line in lines if line[:1].strip() and line.split()[0] in FIELDS}
    assert list(rows) == FIELDS
    assert rows["model"] == "DeepSeek-R1-Distill-Qwen-1.5B"
    assert rows["max_tokens_per_gpu"] == "32,768"


def test_sources_are_shown_when_they_are_asked_for() -> None:
    assert "scripts/train" not in "\n".join(shown("8k"))
    assert "scripts/train" in "\n".join(shown("8k", "--sources"))


@pytest.mark.parametrize(
    "names", [(), ("8k", "16k"), ("8k", "quickstart"), tuple(RECIPES), ("8k", "justrl", "dapo"), ("2k", "4k", "--all")]
)
def test_any_recipes_are_compared_within_80_columns(names: tuple[str, ...]) -> None:
    lines = shown(*names)
    assert max(map(len, lines)) <= 80
    for recipe in names:
        assert recipe.startswith("--") or any(recipe in line.split() for line in lines)


def test_recipes_that_do_not_fit_beside_each_other_stand_below_each_other() -> None:
    lines = shown("8k", "quickstart", "learn")
    assert any(line.split() == ["model", "8k", "DeepSeek-R1-Distill-Qwen-1.5B"] for line in lines)
    assert any(line.split() == ["learn", "SmolLM2-135M-Instruct"] for line in lines)


def test_a_value_that_is_wider_than_the_terminal_stays_whole() -> None:
    long = "model=" + "x" * 90
    (row,) = (line.split() for line in shown("8k", "--set", long) if line.startswith("model "))
    assert row[:5] == ["model", "x" * 90, "hub", "id", "or"]


def test_a_recipe_to_begin_with_is_a_file_that_loads(tmp_path: Path) -> None:
    file = tmp_path / "8k.toml"
    file.write_text("\n".join(shown("8k", "--toml")) + "\n")
    assert load_recipe(str(file)) == RECIPES["8k"]
    file.write_text("\n".join(shown("8k", "--toml", "--set", "group_size=16", "--verl", "data.shuffle=false")) + "\n")
    recipe = load_recipe(str(file))
    assert (recipe.group_size, recipe.verl) == (16, {"data.shuffle": False})
    assert "# learning_rate = 1e-06  # learning rate of AdamW, after the warm-up" in file.read_text().splitlines()


def test_keys_of_verl_are_compared_beside_the_fields() -> None:
    lines = shown("8k", "16k", "--verl", "data.shuffle=false", "--all")
    assert any(line.split()[:2] == ["verl.data.shuffle", "False"] for line in lines)
