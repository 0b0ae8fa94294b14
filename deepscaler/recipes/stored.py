"""Reads a recipe as run.json keeps it: one value for each option, by name, as JSON.

{"seed": 7, "data": {"id": "key"}, "verl": {"a.b": 1}, ...} -> {"seed": 7, "data.id": "key", "verl.a.b": 1, ...}
"""

import json
from functools import cache
from typing import Any

from deepscaler.recipes.recipe import Recipe
from deepscaler.system.options import options_of


def stored_options(recipe: dict[str, Any]) -> dict[str, Any]:
    """Returns every option of a recipe that was written by this version or an older one, which lacks some."""
    # A field that an older kit did not have gets its default: that is how the run was trained.
    options, found = options_of(Recipe), dict(default_options())
    tables = {name.partition(".")[0] for name in options if "." in name} | {"verl"}
    for name, value in recipe.items():
        if name in tables and isinstance(value, dict):
            found |= {f"{name}.{key}": item for key, item in value.items()}
        # Older kits had one data set, and wrote it as a text.
        elif name in options and options[name].notes.get("one_or_more") and isinstance(value, str):
            found[name] = [value]
        else:
            found[name] = value
    return _as_json(found)


@cache
def default_options() -> dict[str, Any]:
    """Returns the default of every option; `verl` has no keys."""
    return _as_json({name: one.default for name, one in options_of(Recipe).items() if name != "verl"})


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    # Through JSON and back, so that tuples are lists on both sides of a comparison.
    converted: dict[str, Any] = json.loads(json.dumps(values))
    return converted
