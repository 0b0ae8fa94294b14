"""Reads the recipe of a command line (--profile, --set, --verl), checked before anything is written or submitted."""

import argparse
from collections.abc import Sequence

from rich.console import Console

from deepscaler.recipes.load import load_recipe, place_of
from deepscaler.recipes.recipe import Device, Recipe
from deepscaler.recipes.thinking import check_thinking
from deepscaler.system.errors import UserError
from deepscaler.verl_plugin.compose import complaint_of_verl
from deepscaler.verl_plugin.user_keys import wrong_keys

KEEP = {"keep": 1, "keep_every": 0, "keep_best": 0}
"""Fields that have flags of their own in `train` and `chain`, `--keep-every 200` for one, and their least values."""


def add_changes(options: argparse._ActionsContainer, *, profile_help: str) -> None:
    """Adds the flags that change a recipe."""
    options.add_argument("--profile", choices=("faithful", "fast"), default=None, help=profile_help)
    options.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the recipe; may be repeated",
    )
    options.add_argument(
        "--verl",
        action="append",
        # In one list with --set: of two for the same key the last that was typed wins.
        dest="set",
        default=[],
        type=_verl_setting,
        metavar="KEY=VALUE",
        help="set any other key of verl's configuration, such as data.shuffle=false",
    )


def load(given: str, arguments: argparse.Namespace, device: Device = "cuda") -> Recipe:
    """Returns the recipe that a command line asks for. Raises UserError if it or a key in [verl] is wrong."""
    kept = [f"{name}={value}" for name in KEEP if (value := getattr(arguments, name, None)) is not None]
    recipe = load_recipe(given, arguments.profile, [*arguments.set, *kept])
    # only the first: with it repaired, the next call names the second
    for key, why in wrong_keys(recipe, device):
        typed = any(setting.startswith(f"verl.{key}=") for setting in arguments.set)
        raise UserError(f"{'--verl: ' if typed else place_of(given, f'verl.{key}')}{why}")
    return recipe


def check_further(recipes: Sequence[Recipe], device: Device, console: Console) -> None:
    """Says what is doubtful about recipes, and has the installed verl check those that set keys of its own.

    Raises UserError with what verl refuses.
    """
    for recipe in recipes:
        if doubt := check_thinking(recipe):
            console.print(f"Note: {doubt}.", style="yellow", soft_wrap=True)
        # a recipe without [verl] was composed with verl in the tests of this kit
        if recipe.verl:
            complaint, note = complaint_of_verl(recipe, device)
            if complaint:
                raise UserError(f"recipe {recipe.name}: {complaint}")
            if note:
                console.print(f"Note: {note}.", style="yellow", soft_wrap=True)


def _verl_setting(text: str) -> str:
    key, separator, _ = text.partition("=")
    if not separator or not key:
        raise argparse.ArgumentTypeError(f"invalid value {text!r}: expected KEY=VALUE")
    return f"verl.{text}"
