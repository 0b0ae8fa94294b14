"""Decides which checkpoints stay, on a run's disk and in its mirror alike; everything else is removed.

Retention(newest=2, every=200, best=1) of steps 20 40 ... 460, the best validation at 300  ->  {200, 300, 400, 440, 460}
"""

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from deepscaler.runs.checkpoints import SEAL, Checkpoint, first_whole, sealed, unsealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.holds import is_held
from deepscaler.runs.metrics import read_metrics, validation_means
from deepscaler.runs.resharded import remove_superseded
from deepscaler.system.errors import UserError


@dataclass(frozen=True, slots=True)
class Retention:
    """The rule; a checkpoint stays if one of the three asks for it."""

    newest: int
    """Number of the newest that stay: at least 1, so the newest checkpoint always stays."""
    every: int = 0
    """Multiples of so many steps; 0 for none."""
    best: int = 0
    """Number of checkpoints with the best validations."""

    def kept(self, steps: Collection[int], means: Mapping[int, float]) -> set[int]:
        """Returns the steps that stay, of some; `means` is the accuracy of each validation, by step."""
        # The newest of equals, because validations of a few problems tie often.
        judged = sorted((step for step in steps if step in means), key=lambda step: (means[step], step), reverse=True)
        multiples = [step for step in steps if self.every and step % self.every == 0]
        return {*sorted(steps)[-self.newest :], *multiples, *judged[: self.best]}


def best_whole(run: RunFolder, say: Callable[[str], None]) -> Checkpoint | None:
    """Returns the checkpoint with the best validation among those whose every file is whole; as `newest` otherwise."""
    return first_whole(run, partial(choose_best, run), say)


def choose_best(run: RunFolder, checkpoints: list[Checkpoint]) -> Checkpoint:
    """Returns the checkpoint with the best validation, the newest of equals. Raises UserError if none has one.

    It is found in the metrics each time, and nothing is written down: verl validates a step after it has saved it, so
    the newest checkpoint is judged when the next one is saved, and a kill in between loses nothing.
    """
    means = validation_means(read_metrics(run))
    judged = [checkpoint for checkpoint in checkpoints if checkpoint.step in means]
    if judged:
        return max(judged, key=lambda one: (means[one.step], one.step))
    raise UserError(f"no checkpoint of {run.root} was validated, so none is the best; merge the newest instead")


def prune(run: RunFolder, retention: Retention) -> None:
    """Removes what the rule does not keep and nobody reads, whichever attempt wrote it, and what is half-written."""
    found = sealed(run)
    means = validation_means(read_metrics(run)) if retention.best else {}
    kept = retention.kept([checkpoint.step for checkpoint in found], means)
    for checkpoint in found:
        if checkpoint.step not in kept:
            _remove(run, checkpoint)
    for path in unsealed(run):  # a removal was interrupted
        shutil.rmtree(path, ignore_errors=True)
    remove_superseded(run, max((checkpoint.step for checkpoint in found), default=0))
    # Not the newest attempt's folder: verl is writing there.
    for attempt in run.attempts()[:-1]:
        shutil.rmtree(attempt.checkpoints, ignore_errors=True)


def _remove(run: RunFolder, checkpoint: Checkpoint) -> None:
    """Removes a checkpoint; interrupted at any moment, it leaves nothing that looks whole.

    A reader first says that it holds the checkpoint and then looks for the seal, while this first takes the seal away
    and then looks for holds: whatever the order, one of them sees the other.
    """
    if is_held(run, checkpoint.step):
        return
    seal = checkpoint.path / SEAL
    try:
        away = seal.rename(seal.with_name(f".{SEAL}"))
    except FileNotFoundError:  # another process has found it damaged, and set it aside
        return
    if is_held(run, checkpoint.step):
        away.rename(seal)
        return
    shutil.rmtree(checkpoint.path, ignore_errors=True)
