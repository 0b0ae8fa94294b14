"""Compares one evaluation with others: paired benchmarks, p-values adjusted over all of them, and verdicts.

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
    """Holds the comparison of one benchmark, or of the mean of all."""

    name: str
    found: Difference
    left_out: int = 0
    """Problems that only one of the two has."""
    adjusted: float = 1.0
    """The p-value, adjusted for the other rows."""
    verdict: Verdict = "not enough evidence"

    @property
    def title(self) -> str:
        """Returns the benchmark's name for people."""
        return title(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Compares one model with the baseline."""

    before: Side
    after: Side
    protocols: Protocols
    rows: list[Row]
    pooled: Row | None
    """The mean of all benchmarks; None if there is only one."""
    movements: dict[str, Movement]
    """Flipped grades of samples with equal seeds, by benchmark."""
    regressions: dict[str, list[Example]]
    """The worst regressions by benchmark."""
    gains: dict[str, list[Example]]
    """The best gains by benchmark."""

    @property
    def decisive(self) -> Row:
        """Returns the row that decides the verdict: the mean of all, or the only benchmark."""
        return self.pooled or self.rows[0]

    @property
    def is_one_model(self) -> bool:
        """Returns whether both sides drew from the same weights."""
        weights = self.before.config.get("weights")
        # Two sides of unknown weights are not one model.
        return weights is not None and weights == self.after.config.get("weights")


def check(sides: Sequence[Side], *, anyway: bool) -> list[Protocols]:
    """Returns how each side's protocol compares with the first side's.

    Raises UserError for sides without a common benchmark, and for different protocols unless `anyway` is given.
    """
    before, *others = sides
    found = []
    for after in others:
        if not _common(before, after):
            raise UserError(
                f"{before.path} and {after.path} have no benchmark in common ({', '.join(before.datasets)} and"
                f" {', '.join(after.datasets)}); evaluate both on the same one"
            )
        protocols = compare_protocols(before, after)
        if protocols.differing and not anyway:
            raise UserError(
                f"{before.path} and {after.path} were evaluated with different protocols"
                f" ({'; '.join(protocols.differing)}); evaluate one of them again, or add --anyway"
            )
        found.append(protocols)
    return found


def compare(sides: Sequence[Side], *, margin: float, anyway: bool = False) -> list[Comparison]:
    """Returns a comparison of each side with the first. Raises UserError as `check` does, and for unreadable grades."""
    protocols = check(sides, anyway=anyway)
    compared = [_compare(sides[0], after, one) for after, one in zip(sides[1:], protocols, strict=True)]
    # P-values are adjusted over all benchmarks of all sides, and those of the means over all sides: a command that
    # asks ten questions raises a false alarm no more often than one that asks one. next() hands them back in order.
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
            raise UserError(
                f"{before.path} and {after.path} have no problem of {dataset} in common; evaluate one of them again"
            )
        pairs.append(pair)
        rows.append(Row(name=dataset, found=difference([pair]), left_out=left_out))
        # every imported sample has the seed 0, which would pair samples that have nothing in common
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
    """Returns the problems that both have (None if there are none), and how many only one has."""
    common = [name for name in before.counts if name in after.counts]
    left_out = len(before.counts) + len(after.counts) - 2 * len(common)
    if not common:
        return None, left_out
    return Paired.of([before.counts[name] for name in common], [after.counts[name] for name in common]), left_out


def _common(before: Side, after: Side) -> list[str]:
    return [name for name in before.datasets if name in after.datasets]
