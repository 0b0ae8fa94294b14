"""Fills the archive of compiled kernels before any training needs it: one step of a recipe, whose run is thrown away.

Shapes and settings decide what is compiled, so the step is the recipe's own: its batch, lengths and devices.
"""

import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from deepscaler.recipes.recipe import Device, Recipe
from deepscaler.system import compiled
from deepscaler.system.errors import UserError
from deepscaler.system.paths import cache_dir, compiled_caches
from deepscaler.training.manifest import TrainOptions
from deepscaler.training.trainer import train

PREFIX = ".first-"
"""Begins the names of the runs' folders, in the cache: a checkpoint may be too large for the temporary folder."""

LEFT = 86400.0
"""Seconds after which such a folder belongs to a command that was killed."""


def compile_once(recipe: Recipe, device: Device, data_dir: Path | None, console: Console) -> int:
    """Trains one step on this machine, then writes the archive; returns the training's exit code.

    Raises UserError if the environment names folders of compiled kernels that are not the kit's.
    """
    if not compiled.use():
        names = ", ".join(compiled_caches(""))
        raise UserError(f"compiled kernels do not go to the kit's folder here: unset {names}, or check who owns it")
    cache_dir().mkdir(parents=True, exist_ok=True)
    for left in cache_dir().glob(f"{PREFIX}*"):  # of one that was killed
        if time.time() - left.stat().st_mtime > LEFT:
            shutil.rmtree(left, ignore_errors=True)
    # Kernels do not depend on the number of machines, nor on how often a problem is validated.
    step = replace(recipe, num_steps=1, save_every=1, num_nodes=1, validation_group_size=1)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=cache_dir(), ignore_cleanup_errors=True) as folder:
        options = TrainOptions(run_dir=Path(folder, recipe.name), device=device, data_dir=data_dir)
        code = train(step, options, console)
        if code == 0:
            console.print(f"Compiled kernels of {recipe.name}: {compiled.publish_now()}", soft_wrap=True)
    return code


def describe_compilation(recipe: Recipe, console: Console) -> None:
    """Prints what `compile_once` would do (`--dry-run`)."""
    console.print(f"{recipe.name}: one step on this machine -> {compiled.archive_here()}", soft_wrap=True)
