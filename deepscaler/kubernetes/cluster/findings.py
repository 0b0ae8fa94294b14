"""Collects the result of a census: components and options of a place, and notes about what no option covers.

Findings(components=["kueue", "a100"], options=[("storage_class", "nfs-client", "nfs.csi.k8s.io, ReadWriteMany")])
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Findings:
    """Collects choices one by one."""

    components: list[str] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    """Reasons for the components, in a few words each."""
    options: list[tuple[str, Any, str]] = field(default_factory=list)
    """Name, value and comment of each option."""
    notes: list[str] = field(default_factory=list)
    """Remarks that no option covers."""


def first(names: Sequence[str], *preferred: str) -> str:
    """Returns the first preferred name that exists, else the first of all; empty if there is none."""
    return next((name for name in (*preferred, *names) if name in names), "")


def beside(names: Sequence[str], chosen: str) -> str:
    """Returns the alternatives to a choice, for a comment."""
    more = [name for name in names if name != chosen]
    return f"there are also: {', '.join(more)}" if more else "the only one"
