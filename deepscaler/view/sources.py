"""Finds the sources in a folder: an evaluation, or a training with the evaluations inside it."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from deepscaler.runs.outputs import EVALUATION, kind_of
from deepscaler.runs.stages import run_folders
from deepscaler.system.paths import existing_folder
from deepscaler.view.evaluations import read_evaluation, sample_files
from deepscaler.view.source import Source, num_bytes
from deepscaler.view.trainings import read_training, response_files
from evaluation.folder import EvaluationFolder

BASE = "0-base"


@dataclass(frozen=True, slots=True)
class Found:
    """Locates one source and its files of responses."""

    folder: Path
    is_training: bool
    files: list[Path]

    def read(self) -> Source:
        """Reads the source without its texts."""
        return read_training(self.folder) if self.is_training else read_evaluation(self.folder)


def find_sources(folders: list[Path]) -> list[Found]:
    """Returns the sources in some folders, in the order given. Raises UserError for a folder that is not the kit's."""
    found = []
    for folder in folders:
        if kind_of(existing_folder(folder)) == "evaluation":
            found.append(Found(folder, False, sample_files(EvaluationFolder(folder))))
            continue
        found.append(Found(folder, True, response_files(folder)))
        inner = [folder / BASE, *(run.root for _, run in run_folders(folder))]
        evaluations = (one / EVALUATION for one in inner)
        found += [
            Found(one, False, sample_files(EvaluationFolder(one)))
            for one in evaluations
            if EvaluationFolder(one).is_bound
        ]
    return found


def total_bytes(found: list[Found]) -> int:
    """Returns the size of all files of responses."""
    return sum(num_bytes(one.files) for one in found)


def read_sources(found: list[Found]) -> list[Source]:
    """Reads all sources; those with equal names get their folder's name as well."""
    sources = [one.read() for one in found]
    counts = Counter((source.kind, source.name) for source in sources)
    return [
        source
        if counts[source.kind, source.name] == 1
        # two parts, because within chains the last one is always `evaluation`
        else replace(source, name=f"{source.name} ({'/'.join(source.folder.resolve().parts[-2:])})")
        for source in sources
    ]
