"""Compares one evaluation with others: benchmarks in pairs, p-values adjusted over all of them, verdicts.

compare(sides, margin=0.02)     one Comparison for each side after the first, which is the baseline
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deepscaler.data.sources import title
from deepscaler.system.errors import UserError
from evaluation.compare.difference import Difference, Verdict, difference, holm, verdict
from evaluation.compare.paired import Paired
from evaluation.compare.protocol import Protocols, compare_protocols
from evaluation.compare.sides import Graded, Side
from evaluation.compare.texts import Example, Movement, examples, movement

POOLED = "mean of all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One benchmark, or the mean of all."""

    name: str
    found: Difference
    left_out: int = 0
    """Problems that one of the two lacks."""
    adjusted: float = 1.0
    """The p-value, adjusted for the others."""
    verdict: Verdict = "not enough evidence"

    @property
    def title(self) -> str:
        """Returns its name for people."""
        return title(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One model against the baseline."""

    before: Side
    after: Side
    protocols: Protocols
    rows: list[Row]
    pooled: Row | None
    """None for one benchmark."""
    movements: dict[str, Movement]
    regressions: dict[str, list[Example]]
    gains: dict[str, list[Example]]
    """The last three by benchmark."""

    @property
    def decisive(self) -> Row:
        """Returns the row that stands for all."""
        return self.pooled or self.rows[0]

    @property
    def is_one_model(self) -> bool:
        """Returns whether both sides drew from the same weights."""
        weights = self.before.config.get("weights")
        return weights is not None and weights == self.after.config.get("weights")


def check(sides: Sequence[Side], *, anyway: bool) -> list[Protocols]:
    """Returns how each side's protocol compares with the first one's.

    Raises UserError for sides without a common benchmark, and for other protocols unless they are compared `anyway`.
    """
    before, *others = sides
    found = []
    for after in others:
        if not _common(before, after):
            raise UserError(
                f"{before.path} and {after.path} have no benchmark in common: {', '.join(before.datasets)} and"
                f" {', '.join(after.datasets)}"
            )
        protocols = compare_protocols(before, after)
        if protocols.differing and not anyway:
            raise UserError(
                f"{before.path} and {after.path} were evaluated by different protocols"
                f" ({'; '.join(protocols.differing)}); evaluate one of them again, or add --anyway"
            )
        found.append(protocols)
    return found


def compare(sides: Sequence[Side], *, margin: float, anyway: bool = False) -> list[Comparison]:
    """Returns a comparison of each side with the first. Raises UserError as `check` does, and for unreadable grades.

    P-values are adjusted over all benchmarks of all sides, and those of the means over all sides: a command that asks
    ten questions finds one difference too many no more often than one that asks one.
    """
    protocols = check(sides, anyway=anyway)
    compared = [_compare(sides[0], after, one) for after, one in zip(sides[1:], protocols, strict=True)]
    rows = iter(_judge([row for one in compared for row in one.rows], margin))
    pooled = iter(_judge([one.pooled for one in compared if one.pooled], margin))
    return [
        replace(one, rows=[next(rows) for _ in one.rows], pooled=next(pooled) if one.pooled else None)
        for one in compared
    ]


def _judge(rows: list[Row], margin: float) -> list[Row]:
    adjusted = holm([row.found.p_value for row in rows])
    return [
        replace(row, adjusted=p, verdict=verdict(row.found, p, margin)) for row, p in zip(rows, adjusted, strict=True)
    ]


def _compare(before: Side, after: Side, protocols: Protocols) -> Comparison:
    rows, pairs = [], []
    movements: dict[str, Movement] = {}
    regressions, gains = {}, {}
    for dataset in _common(before, after):
        old, new = before.read(dataset), after.read(dataset)
        pair, left_out = pair_up(old, new)
        if pair is None:
            raise UserError(f"{before.path} and {after.path} have no problem of {dataset} in common")
        pairs.append(pair)
        rows.append(Row(name=dataset, found=difference([pair]), left_out=left_out))
        is_seeded = not (before.config.get("imported") or after.config.get("imported"))
        if is_seeded and (moved := movement(old, new)):
            movements[dataset] = moved
        regressions[dataset], gains[dataset] = examples(old, new, before.problems(dataset))
    return Comparison(
        before=before,
        after=after,
        protocols=protocols,
        rows=rows,
        pooled=Row(name=POOLED, found=difference(pairs)) if len(pairs) > 1 else None,
        movements=movements,
        regressions=regressions,
        gains=gains,
    )


def pair_up(before: Graded, after: Graded) -> tuple[Paired | None, int]:
    """Returns the problems that both have, None for none, and how many only one has."""
    common = [name for name in before.counts if name in after.counts]
    left_out = len(before.counts) + len(after.counts) - 2 * len(common)
    if not common:
        return None, left_out
    return Paired.of([before.counts[name] for name in common], [after.counts[name] for name in common]), left_out


def _common(before: Side, after: Side) -> list[str]:
    return [name for name in before.datasets if name in after.datasets]
