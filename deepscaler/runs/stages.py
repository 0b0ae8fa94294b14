"""Puts a training run, or the runs of a chain, as stages on one axis of steps.

chain.json  {"stages": [{"name": "8k", "directory": "1-8k"}, ...], "base": {"directory": "0-base"}}
0-base/evaluation/report.json         the model that the chain starts from, evaluated
1-8k/                                 a run folder
1-8k/evaluation/report.json           the model after that stage
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepscaler.output.cells import Interval
from deepscaler.output.terminal import printable
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import Metrics, Series, read_metrics
from deepscaler.runs.outputs import CHAIN, find_kind, is_training
from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One run, and where it begins on the common axis."""

    name: str
    run: RunFolder
    manifest: dict[str, Any]
    start: int
    """Steps of the stages before it."""
    metrics: Metrics
    """Metrics by the stage's own steps."""
    validation_intervals: dict[str, dict[int, Interval]] = field(default_factory=dict)
    """Intervals of the accuracies by data set and step."""
    reward_half_widths: dict[int, float] = field(default_factory=dict)
    """Half the 95 % interval of a batch's mean reward, of some steps."""
    is_measured: bool = True
    """True if every interval comes from the samples of its validation."""

    @property
    def recipe(self) -> dict[str, Any]:
        """Returns every field of its Recipe."""
        recipe: dict[str, Any] = self.manifest["recipe"]
        return recipe

    @property
    def profile(self) -> str:
        """Returns `faithful` or `fast`."""
        return printable(self.recipe["profile"])

    @property
    def num_steps(self) -> int:
        """Steps that it is to have."""
        return int(self.recipe["num_steps"])

    @property
    def step(self) -> int:
        """Returns the last step with metrics."""
        return max(self.metrics, default=0)

    def placed(self, points: Series) -> Series:
        """Returns a series of its own steps on the common axis."""
        return [(self.start + step, value) for step, value in points]


def run_folders(directory: Path) -> list[tuple[str, RunFolder]]:
    """Returns name and folder of every stage, begun or not. Raises UserError if this is neither a run nor a chain."""
    if not is_training(directory):
        raise UserError(
            f"{directory} holds neither {CHAIN} nor run.json; give the --output-dir of `deepscaler train` or `chain`"
        )
    if find_kind(directory) == "run":
        run = RunFolder(directory)
        return [(printable(read_manifest(run)["recipe"]["name"]), run)]
    chain = read_json(directory / CHAIN)
    try:
        stages = [(str(stage["name"]), str(stage["directory"])) for stage in chain["stages"]]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{directory / CHAIN} is not a chain's file: its stages cannot be read; restore it, or start another chain"
        ) from error
    return [(printable(name), RunFolder(directory / folder)) for name, folder in stages]


def read_stages(directory: Path) -> list[Stage]:
    """Returns the stages that have begun, in order. Raises UserError if none has logged anything."""
    stages: list[Stage] = []
    start = 0
    for name, run in run_folders(directory):
        if run.is_run:
            stage = Stage(name=name, run=run, manifest=read_manifest(run), start=start, metrics=read_metrics(run))
            stages.append(stage)
            # What the recipe plans, not what was reached: later stages stay in place while one before them resumes.
            start += stage.num_steps
    if not any(stage.metrics for stage in stages):
        raise UserError(f"{directory} holds no metrics yet: no step was finished; `deepscaler status` shows its state")
    return stages


def not_begun(directory: Path) -> list[str]:
    """Returns what is left of a chain, in words."""
    names = [name for name, run in run_folders(directory) if not run.is_run]
    return [f"Not begun: {', '.join(names)}."] if names else []


def read_manifest(run: RunFolder) -> dict[str, Any]:
    """Returns the manifest. Raises UserError if its recipe lacks a field that readers need."""
    manifest = run.read_manifest()
    for name, kind in (("name", str), ("profile", str), ("num_steps", int)):
        # Readers take these three from every run, also from one of another kit's version.
        if not isinstance(manifest["recipe"].get(name), kind):
            raise UserError(f"{run.manifest_path} holds no recipe of this version: {name} is missing or wrong")
    return manifest
