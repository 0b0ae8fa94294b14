"""Cells of tables: rows of plain text that every output draws its own way, and how numbers are written in them."""

from dataclasses import dataclass
from pathlib import PurePath

from deepscaler.output.terminal import printable

Rows = list[list[str]]


@dataclass(frozen=True, slots=True)
class Interval:
    """A share and where it lies with 95 % confidence; all in 0..1."""

    value: float
    low: float
    high: float


def markdown_table(rows: Rows) -> str:
    """Rows as a Markdown table."""
    escaped = [[cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in escaped]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def show_interval(interval: Interval, digits: int = 1) -> str:
    """43.1 over 37.0-49.5, in percent; `digits` are those of the ends."""
    return f"{percent(interval.value)}\n{100 * interval.low:.{digits}f}-{100 * interval.high:.{digits}f}"


def percent(share: float) -> str:
    """A share of one in percent, one decimal as in the published tables."""
    return f"{100 * share:.1f}"


def short_name(model: str) -> str:
    """The last part of a hub id or path, as one printable line."""
    return printable(PurePath(model).name or model)
