"""The folder of one training run: what it is bound to, its attempts, its checkpoints.

run.json                              recipe, model, data, versions: what the run is
recipe.toml                           every field of the recipe, as a file that trains the same again
attempts/0003/attempt.json            how one start of it went: host, command, resumed step, end
attempts/0003/heartbeat               changes while the attempt lives
attempts/0003/stop                    asks the attempt to stop at the next safe point
attempts/0003/metrics.jsonl           verl's metrics, a line a step
attempts/0003/train.log               all output of verl
attempts/0003/checkpoints/            what verl is writing
checkpoints/global_step_40/           whole checkpoints only, each with a seal.json
rollouts/  validation/                samples, a JSON line each: 40.jsonl
reward/                               a copy of the user's reward file, and what it printed
model/                                the newest checkpoint as a Hugging Face model (`deepscaler merge`)
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json, write_json

OWNER = "DEEPSCALER_OWNER"
"""Variable that tells a job whose it is, where all runs belong to one user of the file system."""

KINDS = {
    **dict.fromkeys(("step", "resumed_step", "step_offset", "pid"), int),
    **dict.fromkeys(("host", "started", "begun", "first_step", "ended", "outcome"), str),
}
"""Types of what others read from an attempt's record."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths and small files of a run."""

    root: Path

    @property
    def manifest_path(self) -> Path:
        """What the run is."""
        return self.root / "run.json"

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe, as a file that `deepscaler train` takes."""
        return self.root / "recipe.toml"

    @property
    def checkpoints(self) -> Path:
        """Whole checkpoints only."""
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        """The merged Hugging Face model."""
        return self.root / "model"

    @property
    def is_run(self) -> bool:
        """Whether a training has begun here."""
        return self.manifest_path.is_file()

    def read_manifest(self) -> dict[str, Any]:
        """`{"recipe": {...}, "device", "model", "data", "versions", "git_revision"}`. Raises UserError."""
        if not self.is_run:
            raise UserError(f"{self.root} is no run of `deepscaler train`: it has no {self.manifest_path.name}")
        manifest = read_json(self.manifest_path)
        if not isinstance(manifest.get("recipe"), dict):
            raise UserError(f"{self.manifest_path} is no run of `deepscaler train`: it has no recipe")
        limit = manifest["recipe"].get("max_response_length", 0)
        if type(limit) is not int:
            raise UserError(f"{self.manifest_path} is damaged: max_response_length is {limit!r}, not an integer")
        return manifest

    def attempts(self) -> list["Attempt"]:
        """All attempts, the first first."""
        folder = self.root / "attempts"
        numbers = sorted(int(path.name) for path in folder.glob("*") if re.fullmatch("[0-9]+", path.name))
        return [self.attempt(number) for number in numbers]

    def next_attempt(self) -> "Attempt":
        """Returns the attempt that the next start will make."""
        attempts = self.attempts()
        return self.attempt(attempts[-1].number + 1 if attempts else 1)

    def attempt(self, number: int) -> "Attempt":
        """One attempt, whether it exists or not."""
        return Attempt(number, self.root / "attempts" / f"{number:04}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a run."""

    number: int
    root: Path

    @property
    def checkpoints(self) -> Path:
        """Where verl writes in this attempt."""
        return self.root / "checkpoints"

    @property
    def metrics_path(self) -> Path:
        """Verl's metrics: `{"step": 3, "data": {"critic/score/mean": 0.2, ...}}` a line."""
        return self.root / "metrics.jsonl"

    @property
    def log_path(self) -> Path:
        """All output of verl."""
        return self.root / "train.log"

    @property
    def heartbeat_path(self) -> Path:
        """A counter that grows while the attempt lives."""
        return self.root / "heartbeat"

    @property
    def stop_path(self) -> Path:
        """Its presence asks the trainer to stop; its text says why."""
        return self.root / "stop"

    @property
    def record_path(self) -> Path:
        """How the attempt was started and how it ended."""
        return self.root / "attempt.json"

    def read_record(self) -> dict[str, Any]:
        """Keys: host, pid, command, started, resumed_step, step_offset; after its end also ended, outcome, step.

        `begun` is when the trainer was ready for its first step, `first_step` when that was logged.

        `step_offset` is what verl's own step numbers of this attempt lack to the run's. Raises UserError.
        """
        record = read_json(self.record_path) if self.record_path.is_file() else {}
        for name, kind in KINDS.items():
            value = record.get(name)
            if value is not None and type(value) is not kind:
                raise UserError(
                    f"{self.record_path} is no record of an attempt: {name} is {str(value)[:40]!r}, expected"
                    f" {'an integer' if kind is int else 'text'}; mend it, or move {self.root} out of the run"
                )
        return record

    def update_record(self, **changes: Any) -> None:
        """Add to the record."""
        write_json(self.record_path, {**self.read_record(), **changes})
