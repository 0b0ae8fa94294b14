"""Keeps what a run is expected to take, when it is submitted or at its first start: `status` compares it later."""

from deepscaler.models.provenance import gpu_names
from deepscaler.recipes.cards import card_of
from deepscaler.recipes.cost import stage_cost
from deepscaler.recipes.recipe import Device, Recipe
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.forecast import FILE, keep_estimate
from deepscaler.system.errors import UserError

FABRIC = "ib"
"""The network that is taken for granted: the estimate hardly depends on it (docs/cost.md)."""


def keep_first_estimate(run: RunFolder, recipe: Recipe, device: Device, kind: str | None = None) -> None:
    """Writes an estimate into the run's folder unless one is there; does nothing where it cannot be estimated.

    `kind` is what a site calls its GPUs; without, this machine's driver names them.
    """
    if device != "cuda" or (run.root / FILE).is_file():
        return
    # None, not an empty text: a launcher that knows of no GPU must not have this machine's driver asked.
    gpu = card_of(next(iter(gpu_names()), "") if kind is None else kind)
    if not gpu:
        return
    try:
        keep_estimate(run.root, stage_cost(recipe, gpu, FABRIC))
    except UserError:  # a model of unknown shape, or one that the model of a step says cannot run
        return
