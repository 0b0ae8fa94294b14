"""Says whether a training has room on its disk: before it, at its start, and while it runs."""

import shutil
import time
from collections.abc import Callable

from rich.console import Console

from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.space import FEW, Room, room_of
from deepscaler.system.files import in_bytes

LOOK = 30.0
"""Seconds between two looks at the disk."""


def print_room(run: RunFolder, recipe: Recipe, console: Console) -> None:
    """Prints what a run may still write beside what is free, and warns where that does not fit."""
    room = room_of(run, recipe)
    if room is None:
        return
    kind = "has" if room.measured else "will have about"
    rollouts = f"{in_bytes(room.rollouts)}{'' if run.is_run else ' at most'}"
    console.print(
        f"Disk: a checkpoint {kind} {in_bytes(room.checkpoint)}, at most {room.at_once} exist at once, a step's"
        f" rollouts have {rollouts}: {in_bytes(room.wanted)} more until step {recipe.num_steps}, and"
        f" {in_bytes(room.free)} are free in {room.folder}.",
        soft_wrap=True,
    )
    if room.num_fitting < 1:
        console.print("Note: not even one checkpoint fits: `train` will not start.", style="yellow")
    elif room.wanted > room.free:
        console.print("Note: that may not fit; see --keep, --keep-every and --keep-best.", style="yellow")


def make_room(run: RunFolder, recipe: Recipe, say: Callable[[str], None]) -> None:
    """Removes half-written checkpoints of earlier attempts where the next one would not fit beside them.

    Raises UserError if it still does not fit.
    """
    room = room_of(run, recipe)
    if room is None:
        return
    if room.num_fitting < 1:
        # Not the newest attempt's, which is this process's own.
        for attempt in run.attempts()[:-1]:
            if attempt.checkpoints.is_dir():
                say(f"{room}: removing what attempt {attempt.number} left half-written.")
                shutil.rmtree(attempt.checkpoints, ignore_errors=True)
        room = room_of(run, recipe) or room
        room.check()
    if room.is_low:
        say(f"WARNING: {room}.")


class SpaceWatch:
    """Looks at a training's disk now and then; says once for each number of checkpoints that only so few still fit."""

    def __init__(self, run: RunFolder, recipe: Recipe) -> None:
        self._run, self._recipe = run, recipe
        self._said = FEW + 1
        self._looked = time.monotonic()

    def look(self) -> str:
        """Returns what to say, which mostly is nothing."""
        if time.monotonic() - self._looked < LOOK:
            return ""
        self._looked = time.monotonic()
        room: Room | None = room_of(self._run, self._recipe)
        if room is None or room.num_fitting >= self._said:
            # Not before there is room for two more than FEW: a save takes one until the oldest is pruned, and would be
            # announced each time at the edge.
            self._said = FEW + 1 if room and room.num_fitting > FEW + 1 else self._said
            return ""
        self._said = room.num_fitting
        return str(room)
