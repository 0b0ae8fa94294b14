"""Compares samples: grades that flip, how long texts with equal seeds stay identical, and where results got worse."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from evaluation.compare.sides import Graded
from evaluation.score import Scored

NUM_EXAMPLES = 3
"""Regressions, and also gains, shown per benchmark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """Counts pairs of samples with the same problem, number and seed."""

    num_pairs: int
    lost: int
    """Pairs that were correct before and are wrong after."""
    gained: int
    num_identical: int
    """Pairs of identical texts."""
    prefix: int
    """Median number of characters before the texts diverge, over those that do; samples keep no token ids."""
    prefix_share: float
    """Median of the same as a share of the longer text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Holds a problem on which the models differ, with a sample of each that shows it."""

    problem_id: str
    question: str
    golds: list[str]
    before: float
    after: float
    """The other model's share of correct samples; `before` is the baseline's."""
    sample_before: Scored
    sample_after: Scored


def movement(before: Graded, after: Graded) -> Movement | None:
    """Returns how samples with equal seeds changed; None if there are none."""
    pairs = [pair for name in before.scored if name in after.scored for pair in _same_seed(before, after, name)]
    if not pairs:
        return None
    parted = [(old.sample.text, new.sample.text) for old, new in pairs if old.sample.text != new.sample.text]
    prefixes = [common_prefix(old, new) for old, new in parted]
    # Never divided by 0: two texts that differ cannot both be empty.
    shares = [prefix / max(map(len, texts)) for prefix, texts in zip(prefixes, parted, strict=True)]
    return Movement(
        num_pairs=len(pairs),
        lost=sum(old.grade.correct and not new.grade.correct for old, new in pairs),
        gained=sum(new.grade.correct and not old.grade.correct for old, new in pairs),
        num_identical=len(pairs) - len(parted),
        prefix=round(median(prefixes)) if prefixes else 0,
        prefix_share=median(shares) if shares else 1.0,
    )


def examples(before: Graded, after: Graded, problems: dict[str, dict[str, Any]]) -> tuple[list[Example], list[Example]]:
    """Returns the worst regressions and the best gains, largest first; only problems whose rates differ."""
    rates = {
        name: (_rate(before.counts[name]), _rate(after.counts[name]))
        for name in before.scored
        if name in after.scored and name in problems
    }
    fallen = {name: old - new for name, (old, new) in rates.items()}
    # without those that differ by 0: a benchmark may have fewer regressions than are shown
    worst = [name for name in sorted(rates, key=lambda name: -fallen[name])[:NUM_EXAMPLES] if fallen[name] > 0]
    best = [name for name in sorted(rates, key=lambda name: fallen[name])[:NUM_EXAMPLES] if fallen[name] < 0]

    def shown(name: str) -> Example:
        old, new = rates[name]
        left, right = _telling(before, after, name, was_correct=new < old)
        problem = problems[name]
        return Example(
            problem_id=name,
            question=problem["problem"],
            golds=problem["golds"],
            before=old,
            after=new,
            sample_before=left,
            sample_after=right,
        )

    return [shown(name) for name in worst], [shown(name) for name in best]


def common_prefix(one: str, other: str) -> int:
    """Returns how many characters two texts share from the start."""
    # Bisects over slices, which Python compares in C; responses have up to a hundred thousand characters.
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _same_seed(before: Graded, after: Graded, name: str) -> Iterable[tuple[Scored, Scored]]:
    others = {one.sample.sample: one for one in after.scored[name]}
    for old in before.scored[name]:
        new = others.get(old.sample.sample)
        # seeds follow from --seed, the problem and the number, so those of two evaluations may differ
        if new and new.sample.seed == old.sample.seed:
            yield old, new


def _telling(before: Graded, after: Graded, name: str, *, was_correct: bool) -> tuple[Scored, Scored]:
    """Returns a correct sample of the better model and a wrong one of the other, with equal seeds if possible."""
    pairs = _same_seed(before, after, name)
    of_one_seed = (p for p in pairs if p[0].grade.correct == was_correct and p[1].grade.correct != was_correct)
    return next(of_one_seed, None) or (
        next(one for one in before.scored[name] if one.grade.correct == was_correct),
        next(one for one in after.scored[name] if one.grade.correct != was_correct),
    )


def _rate(counts: tuple[int, int]) -> float:
    return counts[0] / counts[1]
