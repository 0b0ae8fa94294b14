"""Estimates the disk space that a run's next checkpoint and steps take, and finds how much is free.

Room(folder=/runs/8k, free=64.1 GB, checkpoint=21.3 GB, at_once=3, present=1, rollouts=35 MB, steps_left=1000)
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from deepscaler.recipes.disk import checkpoint_bytes, checkpoints_at_once, rollout_bytes
from deepscaler.recipes.model_shape import shape_of
from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.system.errors import UserError
from deepscaler.system.files import existing_parent, file_size, in_bytes

FEW = 3
"""Checkpoints for which there is room at most when a run says so."""

NUM_MEASURED = 10
"""Last rollout files whose mean size counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes, and numbers of checkpoints."""

    folder: Path
    free: int
    checkpoint: int
    """Bytes of the run's newest checkpoint; before there is one, an estimate by the model's shape."""
    measured: bool
    """True if `checkpoint` was measured."""
    at_once: int
    """Most checkpoints that exist at once."""
    present: int
    rollouts: int
    """Bytes of a step's rollouts: the mean of the last steps; before any, the most that they may be."""
    steps_left: int

    @property
    def wanted(self) -> int:
        """Returns the bytes that the rest of the run may still add."""
        # At least one, because a new checkpoint is written before an old one is pruned.
        return max(1, self.at_once - self.present) * self.checkpoint + self.steps_left * self.rollouts

    @property
    def num_fitting(self) -> int:
        """Checkpoints for which there is room."""
        return self.free // max(1, self.checkpoint)

    @property
    def is_low(self) -> bool:
        """Returns whether room is left for three checkpoints or fewer."""
        return is_few(self.num_fitting)

    def __str__(self) -> str:
        """Returns a line for people."""
        return (
            f"{in_bytes(self.free)} are free in {self.folder}, room for {self.num_fitting} checkpoints of"
            f" {in_bytes(self.checkpoint)}"
        )

    def check(self) -> None:
        """Raises UserError if the next checkpoint does not fit."""
        if self.num_fitting < 1:
            raise UserError(
                f"{self.folder} has {in_bytes(self.free)} free, the next checkpoint needs {in_bytes(self.checkpoint)}:"
                " free some space, or choose another --output-dir"
            )


def room_of(run: RunFolder, recipe: Recipe) -> Room | None:
    """Returns the room on a run's disk; None if neither a checkpoint nor the model shows its size."""
    checkpoints = sealed(run)
    if checkpoints:
        size = sum(checkpoints[0].sizes.values())
    else:
        try:
            size = checkpoint_bytes(recipe, shape_of(recipe.model))
        except UserError:
            return None
    step = checkpoints[0].step if checkpoints else 0
    return Room(
        folder=run.root,
        free=free_bytes(run.root),
        checkpoint=size,
        measured=bool(checkpoints),
        at_once=checkpoints_at_once(recipe),
        present=len(checkpoints),
        rollouts=_measured_rollouts(run) or rollout_bytes(recipe),
        steps_left=max(0, recipe.num_steps - step),
    )


def is_few(num_fitting: int) -> bool:
    """Returns whether a run says that only so many more checkpoints fit."""
    return num_fitting <= FEW


def free_bytes(folder: Path) -> int:
    """Returns the bytes that are free where a folder is or will be."""
    return shutil.disk_usage(existing_parent(folder)).free


def _measured_rollouts(run: RunFolder) -> int:
    # Mean of the last ones, because files grow with the responses.
    steps = [path for path in (run.root / "rollouts").glob("*.jsonl") if path.stem.isdecimal()]
    last = sorted(steps, key=lambda path: int(path.stem))[-NUM_MEASURED:]
    return sum(map(file_size, last)) // len(last) if last else 0
