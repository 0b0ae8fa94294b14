"""Keeps copies of checkpoints for other numbers of ranks: whole or absent, and removed with the next checkpoint.

resharded/global_step_40-of-2/{data.pt, actor/..., seal.json}      as in checkpoints/, for two ranks

What verl saved stays as it is: a copy that is lost can be made again, and going back to the old number costs nothing.
"""

import re
import shutil
from dataclasses import replace
from pathlib import Path

from deepscaler.runs.checkpoints import PREFIX, SEAL, Checkpoint, damage, read_seal
from deepscaler.runs.folder import RunFolder


def copy_folder(run: RunFolder, step: int, num_ranks: int) -> Path:
    """Returns where the copy of a step's checkpoint for so many ranks is or will be."""
    return copies(run) / f"{PREFIX}{step}-of-{num_ranks}"


def copies(run: RunFolder) -> Path:
    """Returns the folder of all copies of a run."""
    return run.root / "resharded"


def planned_copy(run: RunFolder, checkpoint: Checkpoint, num_ranks: int) -> Checkpoint:
    """Returns a checkpoint as it will be for another number of ranks; its sizes are not known."""
    return replace(checkpoint, path=copy_folder(run, checkpoint.step, num_ranks), world_size=num_ranks, sizes={})


def whole_copy(run: RunFolder, checkpoint: Checkpoint, num_ranks: int) -> Checkpoint | None:
    """Returns the copy of a checkpoint for so many ranks if every file of it is whole; None if there is none."""
    found = read_seal(copy_folder(run, checkpoint.step, num_ranks))
    # The step alone could be that of an earlier line of the run: resumed from a merged model, verl counts from 0 again,
    # and a step whose checkpoint was lost is saved again.
    told = (checkpoint.verl_step, checkpoint.identity)
    if not isinstance(found, Checkpoint) or (found.verl_step, found.identity) != told:
        return None
    return None if damage(found.path, found.sizes, num_ranks) else found


def remove_superseded(run: RunFolder, step: int) -> None:
    """Removes the copies of checkpoints older than a step's."""
    for path in copies(run).glob(f"{PREFIX}*-of-*"):
        found = re.fullmatch(f"{PREFIX}([0-9]+)-of-[0-9]+", path.name)
        if found and int(found[1]) < step:
            remove_copy(path)


def remove_copy(path: Path) -> None:
    """Removes a copy; interrupted at any moment, it leaves nothing that looks whole."""
    # The seal first: what is left of an interrupted removal must not pass for a copy.
    (path / SEAL).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
