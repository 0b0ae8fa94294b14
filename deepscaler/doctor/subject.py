"""Describes to the checks the machine and its purpose; what several checks need is read once."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Literal

from deepscaler.doctor.nvidia import Driver, ask_driver
from deepscaler.recipes.recipe import Device, Recipe
from deepscaler.system.files import existing_parent

Purpose = Literal["login", "cpu", "eval", "train"]


@dataclass(kw_only=True)
class Subject:
    """A machine and its purpose."""

    purpose: Purpose
    recipe: Recipe | None = None
    run_dir: Path | None = None
    """Folder of the training; it may not exist yet."""
    lock: Path | None = None
    wandb: bool = False
    """True if the training logs to Weights & Biases."""
    starts_training: bool = False
    """True if a training starts next, so that a failure ends it."""
    _drivers: list[Driver | None] = field(default_factory=list, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    @property
    def device(self) -> Device:
        """Returns the device of the purpose."""
        return "cuda" if self.purpose in ("eval", "train") else "cpu"

    @property
    def driver(self) -> Driver | None:
        """Returns the answer of nvidia-smi; None if there is none, or it does not answer."""
        # The fast checks are threads: the first asks and the others wait for its answer.
        with self._lock:
            # A list, because None is an answer, too.
            if not self._drivers:
                self._drivers.append(ask_driver())
            return self._drivers[0]

    @property
    def may_lack_gpus(self) -> bool:
        """Returns whether a training's GPUs may be on other machines: the head of a Ray cluster often has none."""
        return bool(os.environ.get("RAY_ADDRESS"))


def examined_folder(subject: Subject) -> Path | None:
    """Returns the nearest existing folder of the run's; None if no run was named."""
    return existing_parent(subject.run_dir) if subject.run_dir else None
