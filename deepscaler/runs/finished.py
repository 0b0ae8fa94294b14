"""Decides whether a run has reached its end: its last step is saved, and the validation after it is logged.

verl saves a step, validates if that is due, and only then logs both. A kill between the save and the log loses no
training, but without a second validation the curve would lack a point, and the run its last score.
"""

from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.checkpoints import Checkpoint, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import has_validation, read_metrics

FINISHED = "finished"
"""Outcome of an attempt that has come to the run's end."""


def is_finished(run: RunFolder, recipe: Recipe) -> bool:
    """Returns whether training would have nothing left to do."""
    checkpoint = next(iter(sealed(run)), None)
    # More steps than the recipe's are enough, too: num_steps may have been lowered since.
    if checkpoint is None or checkpoint.step < recipe.num_steps:
        return False
    # A trainer that came to its end has logged all that it ever will, and its command must not start another.
    ended = any(attempt.read_record().get("outcome") == FINISHED for attempt in run.attempts()[-1:])
    # With another number of ranks, the checkpoint of a whole training would be converted for a single number.
    return ended or checkpoint.world_size != recipe.world_size or not lacks_validation(run, recipe, checkpoint)


def lacks_validation(run: RunFolder, recipe: Recipe, checkpoint: Checkpoint) -> bool:
    """Returns whether a checkpoint's validation was due and is not logged."""
    # verl counts by its own steps, and validates after the last one in any case. Checkpoints kept by their validation
    # all need one, including those that were saved because a stop was requested.
    due = checkpoint.verl_step % recipe.validate_every == 0 or checkpoint.step == recipe.num_steps
    return (due or recipe.keep_best > 0) and not has_validation(read_metrics(run), checkpoint.step)
