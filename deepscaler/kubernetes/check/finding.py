"""What is wrong in a manifest, where, and what to do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """In one object."""

    path: str
    """`spec.rayClusterSpec.workerGroupSpecs[0].replicas`; empty for the object itself."""
    wrong: str
    fix: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, and the object and file it is in."""

    file: str
    object: str
    """`RayJob/train-8k`."""
    problem: Problem

    def __str__(self) -> str:
        where = f"{self.file}: {self.object}" + (f": {self.problem.path}" if self.problem.path else "")
        return f"{where}: {self.problem.wrong}" + (f"; {self.problem.fix}" if self.problem.fix else "")
