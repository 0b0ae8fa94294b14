"""`deepscaler recipes`: one recipe with every field's meaning, or some side by side; no name or value is broken."""

import argparse
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from deepscaler.commands.counting import counts_if
from deepscaler.commands.parser import Parser, offer
from deepscaler.commands.recipe import add_changes, load
from deepscaler.data.names import HUB
from deepscaler.output.terminal import PlainConsole, add_row, new_table
from deepscaler.recipes.published import NAMES, RECIPES
from deepscaler.recipes.recipe import Recipe
from deepscaler.recipes.write import BASE, beginning
from deepscaler.system.options import options_of, value_of
from deepscaler.training.plan import print_estimates

EXAMPLES = ("deepscaler recipes 8k 16k --profile fast", "deepscaler recipes 8k --toml > mine.toml")

MOST_PROSE = 20
"""Characters of a text of several words that a column shows."""

MIN_NOTES = 18
"""Characters that a column of prose needs at least."""


def configure(parser: Parser) -> None:
    """Adds the names and the changes to look at."""
    names = parser.add_argument(
        "names", nargs="*", metavar="RECIPE", help="recipes or files to show (default: all published ones)"
    )
    offer(names, NAMES, files="toml")
    add_changes(parser, profile_help="profile to show (default: each recipe's own)")
    toml = parser.add_argument(
        "--toml", action="store_true", help="print a recipe file to begin with: what differs, and all else as comments"
    )
    counts_if(toml, "for one recipe", "name one", _is_one)
    every = parser.add_argument(
        "--all", action="store_true", help="show all fields, also those that are the same in all recipes"
    )
    counts_if(every, "for several recipes", "name another", lambda values: not _is_one(values))
    sources = parser.add_argument(
        "--sources", action="store_true", help="show where values are from, not their meaning"
    )
    counts_if(sources, "for one recipe", "name one", _is_one)


def run(arguments: argparse.Namespace) -> int:
    """Prints a table, a row a field."""
    # these two are for a CPU: beside them nearly every field would differ
    names = arguments.names or [name for name in RECIPES if name not in ("quickstart", "learn")]
    chosen = [load(name, arguments) for name in names]
    if arguments.toml:
        base = names[0] if names[0] in NAMES else BASE
        print(beginning(chosen[0], base), end="")
        return 0
    values = _values(chosen)
    rows = {name: _all_shown(several) for name, several in values.items()}
    same = [name for name, several in values.items() if several.count(several[0]) == len(several)]
    console = PlainConsole()
    if len(chosen) == 1:
        _print_notes(values, list(rows), "source" if arguments.sources else "help", console)
        print_estimates(chosen[0], console)
        return 0
    _compare(chosen, {name: values for name, values in rows.items() if name not in same}, console)
    if arguments.all:
        console.print("\nThe same in all of them", style="bold")
        _print_notes(values, same, "help", console)
    else:
        console.print("Fields that are the same in all of them are left out; --all shows them.")
    return 0


def _values(recipes: list[Recipe]) -> dict[str, list[Any]]:
    """Returns each field's values in some recipes, and those of each key in their tables [verl], None if absent."""
    options = [name for name in options_of(Recipe) if name not in ("name", "verl")]
    found: dict[str, list[Any]] = {name: [value_of(recipe, name) for recipe in recipes] for name in options}
    keys = dict.fromkeys(key for recipe in recipes for key in recipe.verl)
    return found | {f"verl.{key}": [recipe.verl.get(key) for recipe in recipes] for key in keys}


def _print_notes(values: Mapping[str, list[Any]], names: list[str], note: str, console: Console) -> None:
    """Prints fields with their values, and their meaning or source in the room that is left."""
    options = options_of(Recipe)
    about = {name: options.get(name, options["verl"]) for name in names}
    notes = {name: one.help if note == "help" else str(one.notes[note]) for name, one in about.items()}
    rows = [[name, _shown(values[name][0]), notes[name]] for name in names]
    _print_whole(["field", "value", "from" if note == "source" else "meaning"], rows, console, notes=True)


def _compare(recipes: list[Recipe], rows: Mapping[str, list[str]], console: Console) -> None:
    """Prints a column a recipe; where they do not fit beside each other, a row for each field and recipe."""
    header = ["field", *(recipe.name for recipe in recipes)]
    beside = [[name, *values] for name, values in rows.items()]
    if _width(header, beside) > console.width:
        header = ["field", "recipe", "value"]
        beside = [
            [name if number == 0 else "", recipe.name, value]
            for name, values in rows.items()
            for number, (recipe, value) in enumerate(zip(recipes, values, strict=True))
        ]
    _print_whole(header, beside, console)


def _print_whole(header: list[str], rows: list[list[str]], console: Console, *, notes: bool = False) -> None:
    """Prints a table in which only notes are wrapped; it is wider than the terminal if nothing else is left."""
    table = new_table(header, text_columns=(len(header) - 1,) if notes else ())
    table.columns[0].justify = "left"
    for row in rows:
        add_row(table, row)
    broken = len(header) - 1 if notes else len(header)
    needed = _width(header[:broken], [row[:broken] for row in rows]) + (MIN_NOTES if notes else 0)
    console.width = max(console.width, needed)  # rich would cut the names off
    console.print(table)


def _width(header: list[str], rows: list[list[str]]) -> int:
    """Returns the characters that a table takes if nothing in it is wrapped."""
    return sum(max(map(len, column)) + 1 for column in zip(header, *rows, strict=True))


def _is_one(values: Mapping[str, Any]) -> bool:
    return len(values["names"]) == 1


def _shown(value: object) -> str:
    """Returns a value for a narrow column: of a hub id the last part."""
    if value is None:
        return "-"
    if isinstance(value, tuple | list):
        return ", ".join(map(_shown, value)) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items()) or "-"
    if isinstance(value, str) and value.startswith(HUB):
        return value.removeprefix(HUB).partition("@")[0].split("/")[1]
    if isinstance(value, str):
        return value.rpartition("/")[2] if " " not in value else value if len(value) <= MOST_PROSE else "(a text)"
    # Not isinstance: a bool is an int, and True would be shown as 1.
    return f"{value:,}" if type(value) is int else str(value)


def _all_shown(values: list[Any]) -> list[str]:
    """Returns how values are shown side by side: whole where the short forms of different ones are the same."""
    num_different = len(set(map(repr, values)))
    for show in (_shown, _begun):
        shown = list(map(show, values))
        # Different values must not look alike: the short forms of two hub ids may be the same name.
        if len(set(shown)) == num_different:
            return shown
    return list(map(str, values))


def _begun(value: Any) -> str:
    """Returns the beginning of a long text."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= MOST_PROSE else f"{text[:MOST_PROSE]}…"
