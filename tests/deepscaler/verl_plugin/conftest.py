"""verl as it is installed, and the configuration that it composes of a recipe."""

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from deepscaler.recipes.recipe import Recipe
from deepscaler.verl_plugin.overrides import RunPaths, to_arguments, to_overrides

Compose = Callable[..., Any]

PATHS = RunPaths(
    model="/models/a model, {odd}='\"",
    train_files=(Path("/data/train set.parquet"),),
    validation_files=(Path("/data/aime.parquet"),),
    run_dir=Path("/runs/one"),
    checkpoint_dir=Path("/runs/one/attempts/0002/checkpoints"),
    resume_from=Path("/runs/one/attempts/0002/resume/global_step_20"),
    own_ray=True,
    environment={"WANDB_DIR": "/runs/a b, {c}"},
    wandb=True,
)


@pytest.fixture(scope="session")
def verl() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that verl imports
        import verl  # noqa: PLC0415
        import verl.trainer.ppo.reward  # noqa: PLC0415
        import verl.trainer.ppo.utils  # noqa: PLC0415
        import verl.utils.config  # noqa: PLC0415
    return verl


@pytest.fixture(scope="session")
def compose(verl: Any) -> Compose:
    """Returns a function from a recipe to verl's whole configuration; each is composed once, in about a second."""
    from hydra import compose, initialize_config_dir  # noqa: PLC0415

    folder = str(Path(verl.__file__).parent / "trainer/config")

    @cache
    def configuration(*arguments: str) -> Any:
        with initialize_config_dir(folder, version_base=None):
            return compose("ppo_trainer", list(arguments))

    def composed(recipe: Recipe, device: str = "cuda", paths: RunPaths = PATHS) -> Any:
        return configuration(*to_arguments(to_overrides(recipe, paths, device)))

    return composed
