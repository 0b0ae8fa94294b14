"""`deepscaler recipes`: every recipe side by side, or all of one with sources."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from deepscaler.recipe import Recipe

HELP = "Show the training recipes side by side."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the names and the changes to look at."""
    parser.add_argument(
        "names", nargs="*", metavar="RECIPE", help="default: the published ones; one alone also shows its sources"
    )
    parser.add_argument("--profile", choices=("faithful", "fast"), default="faithful", help="default: %(default)s")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field first")
    parser.add_argument("--verl", action="store_true", help="print the command that trains one recipe with verl")
    parser.add_argument("--all", action="store_true", help="also fields that are the same everywhere")


def run(arguments: argparse.Namespace) -> int:
    """Print a table, a row a field."""
    from deepscaler.recipe import parameters, with_settings  # noqa: PLC0415
    from deepscaler.recipes import RECIPES, in_profile, recipe_named  # noqa: PLC0415
    from deepscaler.terminal import PlainConsole, add_row, new_table  # noqa: PLC0415

    chosen = [recipe_named(name) for name in arguments.names] or [
        recipe for recipe in RECIPES.values() if recipe.name != "quickstart"
    ]
    chosen = [with_settings(in_profile(recipe, arguments.profile), arguments.set) for recipe in chosen]
    alone = len(chosen) == 1
    if arguments.verl:
        print(" \\\n    ".join(_verl_command(chosen)))
        return 0
    header = ["field", *(recipe.name for recipe in chosen), *(["meaning", "from"] if alone else [])]
    table = new_table(header, text_columns=(0, 2, 3) if alone else (0,))
    for name, parameter in parameters().items():
        values = [_shown(getattr(recipe, name)) for recipe in chosen]
        notes = [parameter.metadata["about"], parameter.metadata["source"]] if alone else []
        if name != "name" and (alone or arguments.all or len(set(values)) > 1):
            add_row(table, [name, *values, *notes])
    console = PlainConsole()
    console.print(table)
    if alone:
        _print_estimates(console, chosen[0])
    elif not arguments.all:
        console.print("Fields that are the same in all of them are left out; --all shows them.")
    return 0


def _verl_command(chosen: "list[Recipe]") -> list[str]:
    """Verl's trainer with every key that the recipe decides, for a shell."""
    from deepscaler.data.prepare import parquet_path  # noqa: PLC0415
    from deepscaler.errors import UserError  # noqa: PLC0415
    from deepscaler.overrides import RunPaths, to_arguments, to_overrides  # noqa: PLC0415
    from deepscaler.paths import data_dir  # noqa: PLC0415

    if len(chosen) != 1:
        raise UserError("--verl prints one command: name one recipe, such as `deepscaler recipes 8k --verl`")
    recipe = chosen[0]
    paths = RunPaths(
        model=recipe.model,
        train_file=parquet_path(recipe.train_dataset, data_dir()),
        validation_file=parquet_path(recipe.validation_dataset, data_dir()),
        run_dir=Path("outputs", recipe.name).resolve(),
    )
    return ["python -m verl.trainer.main_ppo", *map(shlex.quote, to_arguments(to_overrides(recipe, paths)))]


def _print_estimates(console: "Console", recipe: "Recipe") -> None:
    """What each kind of GPU would have to hold."""
    from deepscaler.errors import UserError  # noqa: PLC0415
    from deepscaler.estimate import GIB, GPUS, estimate, shape_of  # noqa: PLC0415
    from deepscaler.terminal import add_row, new_table, print_table  # noqa: PLC0415

    try:
        shape = shape_of(recipe.model)
    except UserError as reason:
        console.print(f"Note: {reason}", style="yellow", soft_wrap=True)
        return
    estimates = [estimate(recipe, shape, gpu) for gpu in GPUS]
    table = new_table(["estimate for one GPU, GiB", *GPUS])
    for label, value in (
        ("weights, gradients, optimiser", "state"),
        ("activations", "activations"),
        ("logits", "logits"),
        ("= peak of an update", "training"),
        ("rollout engine: weights", "engine_weights"),
        ("rollout engine: cache", "kv_cache"),
    ):
        add_row(table, [label, *(f"{getattr(one, value) / GIB:.1f}" for one in estimates)])
    for label, value in (
        ("full-length sequences at once", "sequences_at_once"),
        ("responses per engine and step", "responses_per_engine"),
        ("optimiser updates per step", "updates_per_step"),
    ):
        add_row(table, [label, *(f"{getattr(one, value):,}" for one in estimates)])
    print_table(console, "Memory and batches", table)
    for one in estimates:
        for warning in one.warnings:
            console.print(f"Note: {warning}", style="yellow", soft_wrap=True)


def _shown(value: object) -> str:
    """A value for a narrow column: of a hub id the last part."""
    return value.rpartition("/")[2] if isinstance(value, str) else f"{value:,}" if type(value) is int else str(value)
