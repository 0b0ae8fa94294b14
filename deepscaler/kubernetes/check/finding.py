"""Describes a problem in a manifest: its place, its nature and its fix."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Holds a problem in one object."""

    path: str
    """Path such as `spec.rayClusterSpec.workerGroupSpecs[0].replicas`; empty for the object itself."""
    wrong: str
    fix: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Holds a problem, and the object and file in which it is."""

    file: str
    object: str
    """Kind and name of the object: `RayJob/train-8k`."""
    problem: Problem

    def __str__(self) -> str:
        where = f"{self.file}: {self.object}" + (f": {self.problem.path}" if self.problem.path else "")
        return f"{where}: {self.problem.wrong}" + (f"; {self.problem.fix}" if self.problem.fix else "")
