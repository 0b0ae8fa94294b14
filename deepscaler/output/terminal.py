"""What every command prints with: a console that takes nothing for markup, and tables that fit into 80 characters."""

import os
import re
import sys
from collections.abc import Collection

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

COLOR = re.compile(r"\x1b\[[0-9;]*m")
"""What a terminal takes for a color, as Ray writes around the name of each of its processes."""


class PlainConsole(Console):
    """Prints texts as they are (a path may hold brackets); work goes on when the reader of a pipe leaves."""

    def __init__(self) -> None:
        super().__init__(markup=False, highlight=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Without this, `deepscaler evaluate ... | head` would end the evaluation."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def new_table(header: list[str], text_columns: Collection[int] = (0,)) -> Table:
    """An empty table; columns of text stand left and are folded where room lacks, numbers stand right and never are."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for index, name in enumerate(header):
        is_text = index in text_columns
        shown = Text(name if is_text else name.replace(" ", "\n"))
        table.add_column(shown, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    return table


def add_row(table: Table, cells: list[str], style: str = "") -> None:
    """A row of plain text: nothing in it is taken for markup."""
    table.add_row(*map(Text, cells), style=style)


def print_table(console: Console, title: str, table: Table) -> None:
    """A table below its title and an empty line."""
    console.print(Text(f"\n{title}", style="bold"))
    console.print(table)


def print_rows(console: Console, title: str, rows: list[list[str]]) -> None:
    """Prints rows of cells, the first being the header, below a title."""
    header, *others = rows
    table = new_table(header)
    for row in others:
        add_row(table, row)
    print_table(console, title, table)


def printable(text: str) -> str:
    """Returns a text on one line, whatever it holds: without colors, other control and half characters replaced."""
    return "".join(c if c.isprintable() else "\ufffd" for c in COLOR.sub("", text))


def shorten(text: str, width: int) -> str:
    """A text without its end, if it has more characters than that."""
    return text if len(text) <= width else text[: width - 1] + "…"
