"""What becomes of a census: components and options of a place, and notes for what no option can say.

Findings(components=["kueue", "a100"], options=[("storage_class", "nfs-client", "nfs.csi.k8s.io, ReadWriteMany")])
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Findings:
    """Grows choice by choice."""

    components: list[str] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    """Of the components, in a few words."""
    options: list[tuple[str, Any, str]] = field(default_factory=list)
    """Name, value, comment."""
    notes: list[str] = field(default_factory=list)
    """What no option says."""


def first(names: Sequence[str], *preferred: str) -> str:
    """Returns the first preferred name that is there, else the first of all; empty for none."""
    return next((name for name in (*preferred, *names) if name in names), "")


def beside(names: Sequence[str], chosen: str) -> str:
    """Returns what else could be chosen, for a comment."""
    more = [name for name in names if name != chosen]
    return f"there are also: {', '.join(more)}" if more else "the only one"
