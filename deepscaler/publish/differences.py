"""Compares the programs and the machine of a recorded training with those here.

Difference("torch", "2.11.0", "2.13.0")    Difference("GPUs", "8 x NVIDIA A100-SXM4-80GB", "none")
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deepscaler import __version__
from deepscaler.models.provenance import git_revision, installed_versions


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference from the record."""

    what: str
    recorded: str
    here: str
    stops: bool = False
    """True if nothing can be trained without it."""


def programs_here() -> dict[str, str]:
    """Returns the versions of the kit, its revision and the packages of this machine."""
    return {"deepscaler": __version__, "its revision": git_revision() or "unknown", **installed_versions()}


def of_programs(stage: Mapping[str, Any], here: Mapping[str, str]) -> Iterator[Difference]:
    """Yields each package, and the kit and its revision, that is not what it was."""
    theirs = {"deepscaler": stage.get("kit"), "its revision": stage.get("git_revision"), **stage.get("versions", {})}
    for name, version in theirs.items():
        if version and version != here.get(name):
            yield Difference(name, str(version), here.get(name, "not installed"))


def of_machine(stage: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[Difference]:
    """Yields GPUs, processor and cores that are not what they were."""
    theirs = stage.get("hardware") or {}
    for name, label in (("gpus", "GPUs"), ("cpu", "processor"), ("cores", "cores")):
        if name in theirs and theirs[name] != here[name]:
            yield Difference(label, _shown(theirs[name]), _shown(here[name]))


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{value.count(name)} x {name}" for name in dict.fromkeys(value)) or "none"
    return str(value)
