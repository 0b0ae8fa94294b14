"""Tells which files of a user's own a recipe names: what another machine may not see."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deepscaler.data.names import is_file
from deepscaler.recipes.recipe import Recipe


def files_of(recipe: Recipe) -> list[Path]:
    """Returns the files of a user's own that a recipe names: data sets and the reward function's. Each only once."""
    names = [name for name in recipe.datasets if is_file(name)]
    if recipe.reward.function:
        # From the right, since a path may hold a colon.
        names.append(recipe.reward.function.rpartition(":")[0])
    return [Path(name) for name in dict.fromkeys(names)]


def with_files(recipe: Recipe, copies: Mapping[Path, Path]) -> Recipe:
    """Returns a recipe that names copies of its files."""

    def renamed(name: str) -> str:
        return str(copies.get(Path(name), name)) if is_file(name) else name

    file, _, function = recipe.reward.function.rpartition(":")
    return replace(
        recipe,
        train_dataset=tuple(map(renamed, recipe.train_dataset)),
        validation_dataset=tuple(map(renamed, recipe.validation_dataset)),
        reward=replace(recipe.reward, function=f"{copies.get(Path(file), file)}:{function}" if file else ""),
    )
