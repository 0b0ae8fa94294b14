"""Prints to the terminal: a console that interprets no markup, and tables that fit into 80 characters.

rich draws the tables and progress bars, and falls back to plain lines without a terminal.
"""

import os
import re
import sys
from collections.abc import Collection

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

COLOR = re.compile(r"\x1b\[[0-9;]*m")
"""Escape codes of colors, which Ray writes around the name of each of its processes."""


class PlainConsole(Console):
    """Prints texts literally, because a path may hold brackets, and survives a reader that closes its pipe."""

    def __init__(self) -> None:
        super().__init__(markup=False, highlight=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Silences the console; by default `deepscaler evaluate ... | head` would end the evaluation."""
        self.quiet = True
        # The descriptor, not sys.stdout: Python flushes that at its exit, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def new_table(header: list[str], text_columns: Collection[int] = (0,)) -> Table:
    """Returns an empty table: text columns on the left of their cells, folded if necessary; numbers on the right."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for index, name in enumerate(header):
        is_text = index in text_columns
        # Headers of numbers break at every space, or a table of six columns would not fit into 80 characters.
        shown = Text(name if is_text else name.replace(" ", "\n"))
        table.add_column(shown, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    return table


def add_row(table: Table, cells: list[str], style: str = "") -> None:
    """Adds a row of plain text, in which nothing counts as markup."""
    table.add_row(*map(Text, cells), style=style)


def print_table(console: Console, title: str, table: Table) -> None:
    """Prints a table below an empty line and its title."""
    console.print(Text(f"\n{title}", style="bold"))
    console.print(table)


def print_rows(console: Console, title: str, rows: list[list[str]]) -> None:
    """Prints rows of cells, header first, below a title."""
    header, *others = rows
    table = new_table(header)
    for row in others:
        add_row(table, row)
    print_table(console, title, table)


def printable(text: str) -> str:
    """Returns any text as one line: without colors, and with control characters and lone surrogates replaced."""
    return "".join(c if c.isprintable() else "\ufffd" for c in COLOR.sub("", text))


def shorten(text: str, width: int) -> str:
    """Returns a text, cut to `width` characters if it is longer."""
    return text if len(text) <= width else text[: width - 1] + "…"
