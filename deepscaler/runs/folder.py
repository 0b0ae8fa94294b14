"""Describes the folder of one training run: its fixed inputs, its attempts, its checkpoints.

run.json                              recipe, model, data, versions: what the run is
recipe.toml                           every field of the recipe, as a file that trains the same again
attempts/0003/attempt.json            how one start of it went: host, command, resumed step, end
attempts/0003/heartbeat               changes while the attempt lives
attempts/0003/stop                    asks the attempt to stop at the next safe point
attempts/0003/metrics.jsonl           verl's metrics, a line a step
attempts/0003/saved.json              the last saved step's line, written before the save counts
attempts/0003/prompts.jsonl           the problems of each step (see ledger)
attempts/0003/train.log               all output of verl
attempts/0003/memory/node17.jsonl     memory of a node, by time, step and role
attempts/0003/checkpoints/            what verl is writing
checkpoints/global_step_40/           whole checkpoints only, each with a seal.json
resharded/global_step_40-of-2/        a copy of one for another number of ranks, sealed as well (runs/resharded.py)
rollouts/  validation/                samples, a JSON line each: 40.jsonl
reward/                               a copy of the user's reward file, and what it printed
model/                                the newest checkpoint as a Hugging Face model (`deepscaler merge`)
"""

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json, write_json

MOMENT = "%Y-%m-%dT%H:%M:%S%z"
"""Form of the moments in an attempt's record, to the second."""

OWNER = "DEEPSCALER_OWNER"
"""Variable that tells a job whose it is, where all runs belong to one user of the file system."""

KINDS = {
    **dict.fromkeys(("step", "resumed_step", "step_offset", "pid"), int),
    **dict.fromkeys(("host", "started", "begun", "first_step", "ended", "outcome", "why", "stall"), str),
}
"""Types of what others read from an attempt's record."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths and small files of a run."""

    root: Path

    @property
    def manifest_path(self) -> Path:
        """Returns the file that says what the run is."""
        return self.root / "run.json"

    @property
    def recipe_path(self) -> Path:
        """Returns the file with the resolved recipe, which `deepscaler train` accepts."""
        return self.root / "recipe.toml"

    @property
    def checkpoints(self) -> Path:
        """Returns the folder that holds whole checkpoints only."""
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        """Returns the folder of the merged Hugging Face model."""
        return self.root / "model"

    @property
    def is_run(self) -> bool:
        """Returns whether a training has begun here."""
        return self.manifest_path.is_file()

    def read_manifest(self) -> dict[str, Any]:
        """Returns `{"recipe": {...}, "device", "model", "data", "versions", "git_revision"}`. Raises UserError."""
        if not self.is_run:
            raise UserError(
                f"{self.root} is not a run of `deepscaler train`: it has no {self.manifest_path.name};"
                " give the --output-dir of one"
            )
        manifest = read_json(self.manifest_path)
        if not isinstance(manifest.get("recipe"), dict):
            raise UserError(f"{self.manifest_path} is not a run of `deepscaler train`: it has no recipe")
        limit = manifest["recipe"].get("max_response_length", 0)
        # Readers compute with it first, and a text would only fail at the first comparison.
        if type(limit) is not int:
            raise UserError(f"{self.manifest_path} is damaged: max_response_length is {limit!r}, not an integer")
        return manifest

    def attempts(self) -> list["Attempt"]:
        """Returns all attempts in order."""
        folder = self.root / "attempts"
        # By number, not by name: 10000 sorts before 9999.
        numbers = sorted(int(path.name) for path in folder.glob("*") if re.fullmatch("[0-9]+", path.name))
        return [self.attempt(number) for number in numbers]

    def next_attempt(self) -> "Attempt":
        """Returns the attempt that the next start will make."""
        attempts = self.attempts()
        return self.attempt(attempts[-1].number + 1 if attempts else 1)

    def attempt(self, number: int) -> "Attempt":
        """Returns one attempt, which may not exist yet."""
        return Attempt(number, self.root / "attempts" / f"{number:04}")


def own_attempt() -> tuple[RunFolder, "Attempt"] | None:
    """Returns the run and the attempt that started this process, known by its environment; None if none did."""
    root, number = os.environ.get("DEEPSCALER_RUN_DIR"), os.environ.get("DEEPSCALER_ATTEMPT")
    if not root or not number:
        return None
    run = RunFolder(Path(root))
    return run, run.attempt(int(number))


def now() -> str:
    """Returns this moment, for a record."""
    return time.strftime(MOMENT)


def seconds_of(moment: object) -> float | None:
    """Returns a record's moment in Unix seconds; None if it is not one."""
    try:
        return datetime.strptime(str(moment), MOMENT).timestamp()
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a run."""

    number: int
    root: Path

    @property
    def checkpoints(self) -> Path:
        """Returns the folder to which verl writes in this attempt."""
        return self.root / "checkpoints"

    @property
    def metrics_path(self) -> Path:
        """Returns the file of verl's metrics: `{"step": 3, "data": {"critic/score/mean": 0.2, ...}}` a line."""
        return self.root / "metrics.jsonl"

    @property
    def saved_path(self) -> Path:
        """Returns the file with the metrics of the step that was saved last, in the form of a line of verl's."""
        return self.root / "saved.json"

    @property
    def log_path(self) -> Path:
        """Returns the file with all output of verl."""
        return self.root / "train.log"

    @property
    def heartbeat_path(self) -> Path:
        """Returns the file with a counter that grows while the attempt lives."""
        return self.root / "heartbeat"

    @property
    def stop_path(self) -> Path:
        """Its presence asks the trainer to stop; its text says why."""
        return self.root / "stop"

    @property
    def stop_reason(self) -> str:
        """Returns why the trainer is asked to stop; empty if nobody asks."""
        # Users make the file, too: with nothing in it, in another encoding than ours, or as a folder.
        if not self.stop_path.exists():
            return ""
        with suppress(OSError):
            return " ".join(self.stop_path.read_text(encoding="utf-8", errors="replace").split()) or "asked to"
        return "asked to"

    @property
    def record_path(self) -> Path:
        """Returns the file that says how the attempt was started and how it ended."""
        return self.root / "attempt.json"

    def read_record(self) -> dict[str, Any]:
        """Keys: host, pid, command, started, resumed_step, step_offset; after its end also ended, outcome, step.

        `begun` is when the trainer was ready for its first step, `first_step` when that was logged. `why` is a sentence
        of the kit that ended the attempt by itself, `stall` one about a stall that lasts.

        `step_offset` is what verl's own step numbers of this attempt lack to the run's. Raises UserError.
        """
        record = read_json(self.record_path) if self.record_path.is_file() else {}
        for name, kind in KINDS.items():
            value = record.get(name)
            if value is not None and type(value) is not kind:
                raise UserError(
                    f"{self.record_path} is not a record of an attempt: {name} is {str(value)[:40]!r}, expected"
                    f" {'an integer' if kind is int else 'text'}; mend it, or move {self.root} out of the run"
                )
        return record

    def explain_end(self, why: str) -> None:
        """Writes down in one sentence why the kit itself ends this attempt, for `status`; the first reason stands."""
        # The first reason stands, because ending an attempt makes further things fail.
        self.update_record(why=self.read_record().get("why") or why)

    def update_record(self, **changes: Any) -> None:
        """Adds to the record."""
        # No lock, since the supervisor's own thread alone writes records, and the fence leaves one supervisor.
        write_json(self.record_path, {**self.read_record(), **changes})
