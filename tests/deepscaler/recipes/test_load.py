"""A recipe file extends a published recipe, or another file, and is checked like every other."""

from pathlib import Path

import pytest

from deepscaler.recipes.load import as_published, load_recipe
from deepscaler.recipes.published import RECIPES
from deepscaler.recipes.recipe import Recipe, with_settings
from deepscaler.system.errors import UserError


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_a_file_says_only_what_differs(tmp_path: Path) -> None:
    file = write(tmp_path, "short.toml", 'extends = "8k"\nmax_response_length = 4096\ntemperature = 1\n')
    recipe = load_recipe(file)
    assert recipe == with_settings(RECIPES["8k"], ["name=short", "max_response_length=4096", "temperature=1"])
    assert load_recipe(file, None, ["max_response_length=2048"]).max_response_length == 2048


def test_a_file_extends_a_file_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base", "ours.toml", 'extends = "16k"\nlearning_rate = 2e-6\n')
    file = write(tmp_path, "mine.toml", 'extends = "base/ours.toml"\nname = "mine"\nseed = 7\n')
    monkeypatch.chdir("/")
    recipe = load_recipe(file)
    assert (recipe.name, recipe.seed, recipe.learning_rate, recipe.num_nodes) == ("mine", 7, 2e-6, 4)


def test_a_profile_in_a_file_means_what_it_means_as_a_flag(tmp_path: Path) -> None:
    file = write(tmp_path, "f.toml", 'extends = "8k"\nname = "8k"\nprofile = "fast"\n')
    assert load_recipe(file) == load_recipe("8k", "fast")
    assert load_recipe(file, "faithful") == RECIPES["8k"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group_size = 4", 'extends = "8k" is missing'),
        ('extends = "8kk"', "did you mean '8k'"),
        ('extends = "8k"\ngroupsize = 4', "did you mean 'group_size'"),
        ('extends = "8k"\ngroup_size = "four"', "invalid value 'four' for group_size in"),
        ('extends = "8k"\ngroup_size = 1', "group_size must be above 1"),
        ('extends = "gone.toml"', "gone.toml cannot be read: No such file"),
        ('extends = "r.toml"', "in a circle"),
        ('extends = "8k"\nsequence_parallel_size = 8', "cannot share the 12 attention heads"),
        ("extends = ", "r.toml cannot be read"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        load_recipe(write(tmp_path, "r.toml", text))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_recipe_is_said_without_its_file(tmp_path: Path) -> None:
    file = write(tmp_path, "mine.toml", 'extends = "24k"\noffload_actor = true\nlearning_rate = 2e-6\n')
    said = as_published(load_recipe(file))
    assert said.name == "24k"
    assert set(said.settings) == {"name=mine", "offload_actor=true", "learning_rate=2e-06"}
    assert load_recipe(said.name, None, said.settings) == load_recipe(file)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_published_recipe_needs_no_settings(recipe: Recipe) -> None:
    said = as_published(recipe)
    assert (said.name, said.settings) == (recipe.name, ())
