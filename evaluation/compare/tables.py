"""Builds a comparison's tables as plain rows of cells, header first, and its result as a sentence."""

from deepscaler.output.cells import Rows, percent
from deepscaler.output.terminal import printable
from evaluation.compare.compare import Comparison, Row
from evaluation.compare.difference import Difference

SIZES = (0.01, 0.02, 0.05)
"""Differences that the table of power covers."""


def result_table(one: Comparison) -> Rows:
    """Returns a row per benchmark, and one for the mean of all: rates, difference, p-value, verdict."""
    header = ["benchmark", "problems", one.before.name, one.after.name, "difference", "p", "adjusted", "verdict"]
    return [header, *map(_result, _rows(one))]


def power_table(one: Comparison) -> Rows:
    """Returns a row per benchmark: the effect size, and the problems or samples that reveal 1, 2 and 5 points."""
    header = ["benchmark", "effect size", "up, down", "sampling noise", "smallest seen"]
    return [[*header, *(f"{100 * size:g} point{'s' * (size > 0.01)}" for size in SIZES)], *map(_power, _rows(one))]


def movement_table(one: Comparison) -> Rows:
    """Returns a row per benchmark: pairs of equal seeds whose grades flip, and for one model where texts diverge."""
    header = ["benchmark", "pairs", "right to wrong", "wrong to right"]
    header += ["problems moved", "same text", "same start"] if one.is_one_model else []
    found = {row.name: row.found for row in one.rows}
    rows = [header]
    for name, moved in one.movements.items():
        title = next(row.title for row in one.rows if row.name == name)
        cells = [title, f"{moved.num_pairs:,}", _share(moved.lost, moved.num_pairs)]
        cells.append(_share(moved.gained, moved.num_pairs))
        if one.is_one_model:
            cells.append(f"{found[name].risen + found[name].fallen} of {found[name].num_problems}")
            cells.append(_share(moved.num_identical, moved.num_pairs))
            parts = moved.num_identical < moved.num_pairs
            cells.append(f"{moved.prefix:,} characters\n({percent(moved.prefix_share)} %)" if parts else "all of it")
        rows.append(cells)
    return rows


def headline(one: Comparison, margin: float) -> str:
    """Returns the result in a sentence or two."""
    row = one.decisive
    found, old, new = row.found, one.before.name, one.after.name
    told = f"{points(found.value)} points, 95 % interval {points(found.low)} to {points(found.high)}"
    place = "the mean of all benchmarks" if one.pooled else row.title
    if row.verdict in ("better", "worse"):
        return f"{new} is {row.verdict} than {old} on {place}: {told}, p {show_p(row.adjusted)}."
    if row.verdict == "no difference shown":
        return f"{new} and {old} differ by less than {100 * margin:g} points on {place}: {told}."
    return (
        f"Not enough evidence to distinguish {new} and {old} on {place}: {told}. These problems and samples reveal a"
        f" difference of {100 * found.smallest:.1f} points in 4 of 5 cases, and smaller ones less often."
    )


def legend(one: Comparison) -> list[str]:
    """Returns the meaning of the letters, a line each."""
    return [
        f"{side.name}: {side.model}, {printable(str(side.path))}" + (" (the baseline)" if side is one.before else "")
        for side in (one.before, one.after)
    ]


def notes(one: Comparison) -> list[str]:
    """Returns the caveats that a reader must know before believing the numbers."""
    told = [f"Different protocols, compared anyway: {'; '.join(one.protocols.differing)}."] * bool(
        one.protocols.differing
    )
    if one.protocols.notes:
        told.append(f"They also differ, or may: {'; '.join(one.protocols.notes)}.")
    left_out = {row.title: row.left_out for row in one.rows if row.left_out}
    told += [f"{name}: {number} problems that only one of them has were left out." for name, number in left_out.items()]
    others = sorted({*one.before.datasets, *one.after.datasets} - {row.name for row in one.rows})
    return told + [f"Only one of them has {', '.join(others)}."] * bool(others)


def points(share: float) -> str:
    """Returns a difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}"


def show_p(value: float) -> str:
    """Returns a p-value as text: two digits, or `<0.0001`."""
    return "<0.0001" if value < 0.0001 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def _rows(one: Comparison) -> list[Row]:
    return [*one.rows, *([one.pooled] if one.pooled else [])]


def _result(row: Row) -> list[str]:
    found = row.found
    interval = f"{points(found.value)}\n{points(found.low)} to {points(found.high)}"
    rates = [percent(found.before), percent(found.after)]
    return [
        row.title,
        str(found.num_problems),
        *rates,
        interval,
        show_p(found.p_value),
        show_p(row.adjusted),
        row.verdict,
    ]


def _power(row: Row) -> list[str]:
    found = row.found
    noise = (
        "-" if found.within is None or found.between is None else percent(_ratio(found.within, found.between)) + " %"
    )
    cells = [row.title, f"{found.effect_size:+.2f}", f"{found.risen}, {found.fallen}", noise]
    return [*cells, f"{100 * found.smallest:.1f}", *(_needed(found, size) for size in SIZES)]


def _needed(found: Difference, size: float) -> str:
    samples = found.samples_needed(size)
    return f"{found.problems_needed(size):,}" + (f"\nor n {samples:,}" if samples else "")


def _ratio(part: float, rest: float) -> float:
    return part / (part + rest) if part + rest else 0.0


def _share(part: int, whole: int) -> str:
    return f"{percent(part / whole)} %"
