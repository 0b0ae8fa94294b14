"""Describes a folder, whatever wrote it: what it is, how far it is, and which attempts are at work in it.

outputs/8k/          run.json     a run of `deepscaler train`
outputs/8k-16k/      chain.json   a chain of `deepscaler chain`: 0-base/, then a run for each stage
  1-8k/              run.json       with model/ and evaluation/
outputs/aime/        config.json  an evaluation of `deepscaler evaluate`, with shards/

run.json and chain.json come a moment after the first attempt's folder, so attempts and progress do not need them.
"""

from pathlib import Path
from typing import Literal

from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.system.errors import UserError
from evaluation.folder import EvaluationFolder

Kind = Literal["run", "chain", "evaluation"]

CHAIN = "chain.json"
EVALUATION = "evaluation"
"""Folder of a chain's stage with the evaluation of its model."""


def find_kind(folder: Path) -> Kind | None:
    """Returns what a folder is; None for any other, also for one that does not exist."""
    if (folder / CHAIN).is_file():
        return "chain"
    if RunFolder(folder).is_run:
        return "run"
    return "evaluation" if EvaluationFolder(folder).is_bound else None


def kind_of(folder: Path) -> Kind:
    """Returns what a folder is. Raises UserError if it is none of the kit's."""
    if kind := find_kind(folder):
        return kind
    raise UserError(
        f"{folder} is not a folder of `deepscaler evaluate`, `train` or `chain`:"
        f" it holds no {EvaluationFolder(folder).config_path.name}, {RunFolder(folder).manifest_path.name} or {CHAIN}"
    )


def is_training(folder: Path) -> bool:
    """Returns whether a folder is that of a run or of a chain of them."""
    return find_kind(folder) in ("run", "chain")


def progress(folder: Path) -> int:
    """Returns a number that grows with what is on disk: steps of the newest checkpoints, bytes of samples."""
    folders = [folder, *_stages(folder)]
    checkpoints = [found[0].step for one in folders if (found := sealed(RunFolder(one)))]
    evaluations = [folder, *(stage / EVALUATION for stage in _stages(folder))]
    # Steps and bytes in one sum, because a launcher asks only whether it has grown since the last start.
    return sum(checkpoints) + sum(EvaluationFolder(one).num_bytes() for one in evaluations)


def newest_attempts(folder: Path) -> list[Attempt]:
    """Returns the newest attempt of a run, or of every stage of a chain that has one, in order."""
    return [attempts[-1] for one in (folder, *_stages(folder)) if (attempts := RunFolder(one).attempts())]


def unfinished_attempts(folder: Path) -> list[Attempt]:
    """Returns those of `newest_attempts` that have not ended."""
    return [attempt for attempt in newest_attempts(folder) if "ended" not in attempt.read_record()]


def _stages(folder: Path) -> list[Path]:
    """Returns the folders of a chain's stages; none for anything but a chain."""
    return sorted(path for path in folder.glob("[0-9]*-*") if path.is_dir())
