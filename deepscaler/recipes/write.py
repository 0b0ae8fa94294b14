"""Writes recipes as TOML: one that is whole, for a run's folder, and one to begin a recipe of one's own with.

extends = "8k"
group_size = 16  # responses per prompt: GRPO's group
# learning_rate = 1e-06  # learning rate of AdamW, after the warm-up
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from deepscaler.recipes.load import recipe_named
from deepscaler.recipes.recipe import Recipe
from deepscaler.system.option import Option
from deepscaler.system.options import options_of, value_of

BASE = "8k"
"""Recipe that a whole recipe extends. It sets no key of verl's, so nothing has to be reverted."""


def whole(recipe: Recipe) -> str:
    """Returns a recipe with every field: it trains the same whatever becomes of the files and names it came from."""
    # A file must extend something; every field is given, so nothing is taken from it.
    lines = ["# every field of this recipe, as it was resolved", f"extends = {_toml(BASE)}"]
    return "\n".join([*lines, *_fields(recipe, dict.fromkeys(options_of(Recipe), "")), ""])


def beginning(recipe: Recipe, base: str) -> str:
    """Returns a file to begin with: what differs from the base, and everything else as comments."""
    theirs = recipe_named(base)
    options = options_of(Recipe)
    same = {name for name in options if value_of(recipe, name) == value_of(theirs, name)}
    prefixes = {name: "# " if name in same else "" for name in options}
    lines = [
        "# A recipe of your own: take the `# ` away from what you change.",
        "# Paths are relative to this file, and its name is the recipe's where no other is given.",
        f"extends = {_toml(base)}",
    ]
    return "\n".join([*lines, *_fields(recipe, prefixes), ""])


def _fields(recipe: Recipe, prefixes: Mapping[str, str]) -> Iterator[str]:
    """Yields a line for each field, with its meaning; tables last, as TOML wants it."""
    options = options_of(Recipe)
    for name, one in options.items():
        if "." not in name and name != "verl":
            yield _line(name, value_of(recipe, name), one, prefixes[name])
    for table in dict.fromkeys(name.partition(".")[0] for name in options if "." in name):
        yield from ("", f"[{table}]")
        for name, one in options.items():
            if name.startswith(f"{table}."):
                yield _line(name.partition(".")[2], value_of(recipe, name), one, prefixes[name])
    yield from ("", f"[verl]  # {options['verl'].help}")
    for key, value in recipe.verl.items():
        # Quoted, because dots in a bare key would nest it.
        yield f"{json.dumps(key)} = {_toml(value)}"


def _line(name: str, value: Any, one: Option, prefix: str) -> str:
    return f"{prefix}{name} = {_toml(value)}  # {one.help}"


def _toml(value: Any) -> str:
    """Returns a value as TOML, which lacks nothing of JSON's but null and writes tables on one line with `=`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)  # inf and nan are written alike in both languages
    # TOML forbids the control character DEL in strings, which JSON allows.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
