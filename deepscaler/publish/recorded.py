"""Reads the record of a training: a card's folder, its deepscaler.json, a run, a chain, or a copy of a run.json."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepscaler.data.names import is_file
from deepscaler.publish.checked import check_names, check_parts, read_record
from deepscaler.publish.manifest import FILE, portable, read_portable
from deepscaler.recipes.recipe import Recipe
from deepscaler.recipes.stored import stored_options
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import read_metrics
from deepscaler.runs.outputs import is_training
from deepscaler.runs.stages import Stage, read_stages
from deepscaler.system.errors import UserError
from deepscaler.system.options import options_of, with_options

EXPECTED = {
    "sets": "where the data is from",
    "hardware": "what it ran on",
    "versions": "the versions",
    "first_steps": "figures to compare with",
}
"""Parts that an older kit did not write down, and what is not known then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A training as it was recorded."""

    stages: Sequence[dict[str, Any]]
    """Stages of the training, in the form of deepscaler.json."""
    folder: Path
    """Folder of the record: files of the author's may be beside it."""
    originals: dict[str, Path] = field(default_factory=dict)
    """Paths of files on the machine that trained, by their names; empty for a published record."""


def read_recorded(given: Path) -> Recorded:
    """Returns the record at a path. Raises UserError if there is none."""
    if given.is_dir() and (given / FILE).is_file():
        return Recorded(stages=read_portable(given / FILE)["stages"], folder=given)
    if given.is_dir() and is_training(given):
        single = RunFolder(given)
        return _of_stages(
            [_stage_of(given / single.manifest_path.name)] if single.is_run else read_stages(given), given
        )
    if given.is_file():
        found = read_record(given)
        if isinstance(found.get("recipe"), dict):
            return _of_stages([_stage_of(given)], given.parent)
        return Recorded(stages=read_portable(given)["stages"], folder=given.parent)
    raise UserError(
        f"{given} records no training: give a run, a chain, the folder of `deepscaler publish`, run.json or {FILE}"
    )


def missing_parts(stage: dict[str, Any]) -> list[str]:
    """Returns what an older kit did not record."""
    lacking = [about for name, about in EXPECTED.items() if not stage.get(name)]
    reward = stage.get("reward")
    return [*lacking, *(["the text of the reward function"] if reward and "text" not in reward else [])]


def recipe_of(stored: dict[str, Any]) -> tuple[Recipe, list[str], list[str]]:
    """Returns a recorded recipe, the fields or values that this kit does not know, and the fields it lacks.

    Fields that the record lacks get this kit's defaults. Raises UserError for a recipe that cannot run here.
    """
    options = options_of(Recipe)
    values: dict[str, Any] = {}
    verl: dict[str, Any] = {}
    unknown = []
    for name, value in stored_options(stored).items():
        # Keys of verl are free text with dots of their own, so they are not looked up among the fields.
        if name.startswith("verl."):
            verl[name.removeprefix("verl.")] = value
        elif name in options:
            try:
                # Stored before it is checked, since `check` judges what `convert` made: hence the pop below.
                values[name] = options[name].convert(value, name)
                options[name].check(values[name], name)
            except UserError:  # of another kit, whose values were others
                values.pop(name, None)
                unknown.append(name)
        elif name != "verl":
            unknown.append(name)
    lacking = [name for name in options if name.partition(".")[0] not in stored]
    return with_options(Recipe(), {**values, **({"verl": verl} if verl else {})}), unknown, lacking


def _stage_of(file: Path) -> Stage:
    """Returns a run as a stage, from its folder or a copy of its run.json alone."""
    manifest = read_record(file)
    check_parts(manifest, str(file))
    run = RunFolder(file.parent)
    metrics = read_metrics(run) if run.is_run and run.manifest_path == file else {}
    return Stage(name=manifest["recipe"]["name"], run=run, manifest=manifest, start=0, metrics=metrics)


def _of_stages(stages: Sequence[Stage], folder: Path) -> Recorded:
    originals: dict[str, Path] = {}
    for stage in stages:
        check_parts(stage.manifest, str(stage.run.manifest_path))
        names = [*stage.manifest.get("data", {}), str(stage.manifest["model"]["name"])]
        reward = stage.manifest.get("reward") or {}
        names.append(str(reward.get("source", "")))
        originals |= {Path(name).name: Path(name) for name in names if name.startswith("/") or is_file(name)}
    found = portable(stages)
    check_names(found, str(folder))
    return Recorded(stages=found, folder=folder, originals=originals)
