"""`deepscaler data`: list, prepare, check, score and filter the data sets."""

import argparse
from pathlib import Path

from deepscaler.commands.data_check import add_check
from deepscaler.commands.data_prepare import add_prepare
from deepscaler.commands.data_scores import add_filter, add_score
from deepscaler.commands.parser import Parser, add_action
from deepscaler.data.names import look_in, registered
from deepscaler.data.prepare import read_manifest
from deepscaler.data.sources import SOURCES
from deepscaler.output.terminal import PlainConsole, add_row, new_table

EXAMPLES = (
    "deepscaler data prepare sums.jsonl --name mine --answer final",
    "deepscaler data check --source downloads/deepscaler",
)


def configure(parser: Parser) -> None:
    """Adds the actions."""
    actions = parser.add_actions()
    list_parser = add_action(actions, "list", "list the data sets and where they come from")
    list_parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder of prepared data (default: <cache>/data)"
    )
    list_parser.set_defaults(act=_list)
    add_prepare(add_action(actions, "prepare", "write parquet files in verl's schema, and register files of your own"))
    add_check(add_action(actions, "check", "find contamination, duplicates and golds that cannot be right"))
    add_score(add_action(actions, "score", "draw responses to a set's problems: each gets a pass rate"))
    add_filter(add_action(actions, "filter", "register the problems of a set whose pass rates are in a band"))


def run(arguments: argparse.Namespace) -> int:
    """Does the chosen action."""
    look_in(getattr(arguments, "data_dir", None), getattr(arguments, "output_dir", None))
    code: int = arguments.act(arguments)
    return code


def _list(arguments: argparse.Namespace) -> int:
    table = new_table(["name", "split", "rows", "revision", "about"], text_columns=(0, 1, 3, 4))
    for source in SOURCES.values():
        revision = source.revision[:7] or "generated"
        add_row(table, [source.name, source.split, f"{source.num_rows:,}", revision, source.about])
    folders = [arguments.data_dir] if arguments.data_dir else []
    for name, folder in sorted(registered(*folders).items()):
        entry = read_manifest(folder)[name]
        about = f"yours: {entry.get('about') or entry['given']}"
        add_row(table, [name, "own", f"{entry['rows']:,}", entry.get("revision", "")[:7], about])
    PlainConsole().print(table)
    return 0
