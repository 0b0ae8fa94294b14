"""`deepscaler recipes`: every recipe side by side, or all of one with sources."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

HELP = "Show the training recipes side by side."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the names and the changes to look at."""
    parser.add_argument(
        "names", nargs="*", metavar="RECIPE", help="default: the published ones; one alone also shows its sources"
    )
    parser.add_argument("--profile", choices=("faithful", "fast"), default="faithful", help="default: %(default)s")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field first")
    parser.add_argument("--all", action="store_true", help="also fields that are the same everywhere")


def run(arguments: argparse.Namespace) -> int:
    """Print a table, a row a field."""
    from deepscaler.output.terminal import PlainConsole, add_row, new_table  # noqa: PLC0415
    from deepscaler.recipes.load import load_recipe  # noqa: PLC0415
    from deepscaler.recipes.published import RECIPES  # noqa: PLC0415
    from deepscaler.recipes.recipe import Recipe  # noqa: PLC0415
    from deepscaler.system.options import options_of  # noqa: PLC0415
    from deepscaler.training.plan import print_estimates  # noqa: PLC0415

    names = arguments.names or [name for name in RECIPES if name not in ("quickstart", "learn")]
    chosen = [load_recipe(name, arguments.profile, arguments.set) for name in names]
    alone = len(chosen) == 1
    header = ["field", *(recipe.name for recipe in chosen), *(["meaning", "from"] if alone else [])]
    table = new_table(header, text_columns=(0, 2, 3) if alone else (0,))
    for name, option in options_of(Recipe).items():
        values = [_shown(getattr(recipe, name)) for recipe in chosen]
        notes = [option.help, str(option.notes["source"])] if alone else []
        if name != "name" and (alone or arguments.all or len(set(values)) > 1):
            add_row(table, [name, *values, *notes])
    console = PlainConsole()
    console.print(table)
    if alone:
        print_estimates(chosen[0], console)
    elif not arguments.all:
        console.print("Fields that are the same in all of them are left out; --all shows them.")
    return 0


def _shown(value: object) -> str:
    """A value for a narrow column: of a hub id the last part."""
    return value.rpartition("/")[2] if isinstance(value, str) else f"{value:,}" if type(value) is int else str(value)
