"""Samples the memory of this node beside the trainer, and has the attempt save and restart before a node is full.

Nodes that run ranks write their own files (verl_plugin/memory.py); all of them are read here.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.runs.memory import FULL
from deepscaler.runs.memory_samples import EVERY, FOLDER, NodeSamples, Series, claim, sample_node
from deepscaler.system.files import in_bytes
from deepscaler.system.repeat import repeating

RECENT = 3
"""Last steps in each of which memory must have grown for the smallest of these growths to be expected of the next."""

NEAR = 0.9
"""Share of the limit from which their mean growth is expected, although one of them may have taken less than before."""

AHEAD = 2
"""Steps that must fit: the one in flight, and what its save takes."""

GROWN = 0.1
"""Share of the limit that an attempt must have added since its first steps: a restart would not free less."""

BASE = 2
"""Steps after which what is in use counts as what an attempt needs; no fewer new steps before it is restarted."""


@contextmanager
def sampled(run: RunFolder, attempt: Attempt) -> Iterator["MemoryWatch"]:
    """Samples this node while a block runs; yields the watch that says when a node will be full."""
    path = claim(attempt)
    if path is None:
        yield MemoryWatch(attempt)
        return
    with repeating(lambda: sample_node(run, attempt, path), EVERY, "memory"):
        yield MemoryWatch(attempt)


class MemoryWatch:
    """Looks at the samples of all nodes now and then."""

    def __init__(self, attempt: Attempt) -> None:
        self._folder = attempt.root / FOLDER
        self._looked = time.monotonic()
        self._nodes: dict[Path, NodeSamples] = {}

    def look(self) -> str:
        """Returns why the attempt must save and restart; empty if nothing is near its limit."""
        if time.monotonic() - self._looked < EVERY:
            return ""
        self._looked = time.monotonic()
        for path in sorted(self._folder.glob("*.jsonl")):
            if why := _too_full(path.stem, self._nodes.setdefault(path, NodeSamples(path)).read_new()):
                return why
        return ""


def _too_full(node: str, samples: NodeSamples) -> str:
    """Returns why a node will be full, be it its machine or its control group; empty if nothing is near its limit."""
    return next(filter(None, (_fills(node, series) for series in samples.series)), "")


def _fills(node: str, samples: Series) -> str:
    peaks, last = samples.peaks, samples.last
    steps = sorted(peaks)
    if len(steps) <= BASE:
        return ""
    # Of the attempt, not of the machine: what it needs from the start on a restart would need again.
    base = max(peaks[step] for step in steps[:BASE])
    # The step in flight counts once it is as high as the one before: until then its peak is still to come.
    done = steps if peaks[steps[-1]] >= peaks[steps[-2]] else steps[:-1]
    limit, used = last["limit"], peaks[done[-1]]
    growth = used - base
    if last.get("place") == "machine":
        # Other programs grow there, too, and a restart frees nothing of that. A control group is the run's own.
        growth = min(growth, samples.own[done[-1]] - max(samples.own[step] for step in steps[:BASE]))
    rate = _rate({step: peaks[step] for step in done[-RECENT - 1 :]}, base, is_near=used >= NEAR * limit)
    # Both, because a machine that is full from the start is not emptied by restarting this one.
    if growth < GROWN * limit or used + AHEAD * rate < FULL * limit:
        return ""
    roles = samples.first["roles"]
    grown = {name: size - roles.get(name, 0) for name, size in last["roles"].items()}
    role = max(grown, key=lambda name: grown[name], default="")
    return (
        f"memory: {node} has {in_bytes(used)} of {in_bytes(limit)} in use, {in_bytes(growth)} more than after"
        f" {BASE} steps ({role} grew most): saving and restarting before the kernel or Ray kills something"
    )


def _rate(recent: dict[int, int], base: int, *, is_near: bool) -> float:
    """Returns the bytes a step by which memory is sure to grow; near the limit, those by which it may.

    A validation or a save takes more memory for a step or two, at every tenth step perhaps, and gives it back: one high
    step is not growth, however little room it leaves.
    """
    steps = list(recent)
    slopes = [(recent[b] - recent[a]) / (b - a) for a, b in pairwise(steps)]
    sure = min(slopes) if len(slopes) == RECENT else 0.0
    first, last = steps[-RECENT:][0], steps[-1]
    # It stays if each of the last steps holds at least half of what has been added.
    stays = min(recent[step] for step in steps[-RECENT:]) - base >= (recent[last] - base) / 2
    return max(0.0, sure, (recent[last] - recent[first]) / (last - first) if is_near and stays else 0.0)
