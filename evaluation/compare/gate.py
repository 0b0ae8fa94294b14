"""Judges whether a stage of a chain is worse than the previous one, with one-sided, paired tests of two report.json.

judge(Path("0-base/evaluation"), Path("1-8k/evaluation"))     ("worse", "aime 31.2 -> 24.0 (-7.2 points, ...)")
"""

from pathlib import Path
from typing import Literal

from deepscaler.output.cells import percent
from evaluation.compare.compare import POOLED, pair_up
from evaluation.compare.difference import LEVEL, MARGIN, Difference, difference, holm
from evaluation.compare.protocol import compare_protocols
from evaluation.compare.sides import open_side
from evaluation.compare.tables import points, show_p

Judgement = Literal["not worse", "worse", "in doubt"]


def judge(before: Path, after: Path) -> tuple[Judgement, str]:
    """Compares the reports of two evaluation folders. Returns the judgement and a line that explains it.

    "worse": a drop of a benchmark, or of the mean of all, is significant (one-sided, Holm's p-values at most 0.05).
    "in doubt": none is, but the one-sided 95 % interval of the mean reaches below -2 points (MARGIN), or the
    evaluations cannot be compared. "not worse": neither applies. Raises UserError for a report that cannot be read.
    """
    # the file and not the folder, whose samples would be read: gigabytes, and a conductor asks again and again
    old, new = (open_side(name, folder / "report.json", "kit") for name, folder in (("A", before), ("B", after)))
    if differing := compare_protocols(old, new).differing:
        return "in doubt", f"different protocols, not compared: {'; '.join(differing)}"
    names = [name for name in new.datasets if name in old.datasets]
    pairs = {name: pair for name in names if (pair := pair_up(old.read(name), new.read(name))[0])}
    if not pairs:
        return "in doubt", "the evaluations have no problem in common"
    found = {name: difference([pair]) for name, pair in pairs.items()}
    if len(found) > 1:
        found[POOLED] = difference(list(pairs.values()))
    adjusted = dict(zip(found, holm([one.p_worse for one in found.values()]), strict=True))
    told = "; ".join(_told(name, one, adjusted[name]) for name, one in found.items())
    if any(p <= LEVEL for p in adjusted.values()):
        return "worse", told
    # The last entry: the mean of all, or the only benchmark.
    *_, mean = found.values()
    if mean.lower_bound < -MARGIN:
        return "in doubt", f"{told}; a drop of {-100 * mean.lower_bound:.1f} points is not ruled out"
    return "not worse", told


def _told(name: str, one: Difference, p_worse: float) -> str:
    """Returns a benchmark's rates, their difference, and the drop that these samples would have revealed."""
    return (
        f"{name} {percent(one.before)} -> {percent(one.after)} ({points(one.value)} points, p of a drop"
        f" {show_p(p_worse)}; a drop of {100 * one.smallest_drop:.1f} would show in 4 of 5 cases)"
    )
