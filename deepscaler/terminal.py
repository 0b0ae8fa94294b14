"""Tables on a terminal: no vertical lines, so that seven columns fit into 80 characters."""

from collections.abc import Collection

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text


def new_table(header: list[str], title: str | None = None, text_columns: Collection[int] = (0,)) -> Table:
    """An empty table; columns of text stand left and the first is never broken, numbers stand right."""
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False
    )
    for index, name in enumerate(header):
        is_text = index in text_columns
        table.add_column(Text(name), justify="left" if is_text else "right", no_wrap=index == 0, overflow="fold")
    return table


def add_row(table: Table, cells: list[str], style: str = "") -> None:
    """A row of plain text: nothing in it is taken for markup."""
    table.add_row(*map(Text, cells), style=style)
