"""Formats numbers as table cells, and tables as rows of plain text that every output format draws its own way."""

from dataclasses import dataclass
from pathlib import PurePath

from deepscaler.output.terminal import printable

Rows = list[list[str]]


@dataclass(frozen=True, slots=True)
class Interval:
    """Holds a share and its 95 % confidence interval, all in 0..1."""

    value: float
    low: float
    high: float


def markdown_table(rows: Rows) -> str:
    """Returns rows as a Markdown table."""
    # Markdown passes HTML through, and a cell may hold a model's output.
    escaped = [[cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in escaped]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def show_interval(interval: Interval, digits: int = 1) -> str:
    """Returns an interval in percent on two lines, 43.1 over 37.0-49.5; `digits` are the decimals of the ends."""
    return f"{percent(interval.value)}\n{100 * interval.low:.{digits}f}-{100 * interval.high:.{digits}f}"


def percent(share: float) -> str:
    """Returns a share of one in percent, with one decimal as in published tables."""
    return f"{100 * share:.1f}"


def short_name(model: str) -> str:
    """Returns the last part of a hub id or path as one printable line."""
    return printable(PurePath(model).name or model)


def rounded(value: float) -> str:
    """Returns an estimate as text, with two digits if it is below 10: `2,598`, `38`, `3.8`, `0.63`."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
