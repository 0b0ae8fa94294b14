"""From what a command line says to a recipe: a published name or a TOML file, a profile, and changed fields.

extends = "8k"          # a published name, or another file beside this one
name = "short-4b"
model = "Qwen/Qwen3-4B"
max_response_length = 4096
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepscaler.data.names import absolute as absolute_name
from deepscaler.recipes.model_shape import check_heads
from deepscaler.recipes.published import RECIPES
from deepscaler.recipes.recipe import Profile, Recipe, with_settings
from deepscaler.system.errors import UserError, unknown
from deepscaler.system.files import read_toml
from deepscaler.system.options import convert_options, options_of, value_of, with_options

SUFFIX = ".toml"
MOST_FILES = 10
"""That extend one another; more of them are a circle or a mistake."""


def load_recipe(given: str, profile: Profile | None = None, settings: Sequence[str] = ()) -> Recipe:
    """Returns the recipe that a command line asks for. Raises UserError where it cannot run."""
    for setting in settings:
        if setting.startswith("profile="):
            raise UserError(f"--set {setting} would change the name alone: give --profile {setting[8:] or 'NAME'}")
    recipe = recipe_named(given)
    recipe = with_settings(in_profile(recipe, profile or recipe.profile), list(settings))
    recipe = _seen_from(recipe, Path.cwd())
    check_heads(recipe)
    return recipe


def recipe_named(given: str) -> Recipe:
    """Returns a published recipe, or that of a file. Raises UserError that lists the published names."""
    if is_file(given):
        return _read(Path(given), ())
    if given not in RECIPES:
        raise unknown("recipe", given, RECIPES, or_else=f"or a file that ends in {SUFFIX}")
    return RECIPES[given]


def is_file(given: str) -> bool:
    """Returns whether a text names a recipe file, not a published recipe."""
    return given.endswith(SUFFIX)


def absolute(given: str) -> str:
    """Returns a recipe's name, or its file's absolute path: what another process is to be given."""
    return str(Path(given).absolute()) if is_file(given) else given


def in_profile(recipe: Recipe, profile: Profile) -> Recipe:
    """Returns the recipe with what verl has gained since (`fast`), or as it was published (`faithful`)."""
    if profile == recipe.profile:
        return recipe
    fast = profile == "fast"
    return replace(
        recipe,
        profile=profile,
        asynchronous_rollout=fast,
        # responses of older weights need it: without, AReaL's 1.5B model fell from 42.0 to 23.3 on AIME 2024
        rollout_correction="token" if fast and recipe.recompute_log_probs else "none",
    )


def to_toml(recipe: Recipe) -> str:
    """Returns a recipe as a file: the published one that it differs least from, and the fields that differ."""
    name, differing = _nearest(recipe)
    lines = [f'extends = "{name}"']
    tables: dict[str, list[str]] = {}
    for field, value in differing.items():
        table, _, key = field.partition(".")
        if key:
            quoted = json.dumps(key, ensure_ascii=False) if "." in key else key
            tables.setdefault(table, []).append(f"{quoted} = {_toml(value)}")
        else:
            lines.append(f"{field} = {_toml(value)}")
    for table, rows in tables.items():
        lines += ["", f"[{table}]", *rows]
    return "\n".join([*lines, ""])


def to_words(recipe: Recipe) -> list[str]:
    """Returns a recipe as words of a command, for a machine that sees no file: a published name and options."""
    name, differing = _nearest(recipe)
    words = [name]
    for field, value in differing.items():
        words += ["--profile", value] if field == "profile" else ["--set", f"{field}={_text(field, value)}"]
    return words


def _nearest(recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """Returns a published recipe's name, and the fields in which the recipe differs from it in its own profile."""
    # a key of verl's that a base sets cannot be taken back
    bases = {name: base for name, base in RECIPES.items() if not set(base.verl) - set(recipe.verl)}
    found = {name: _differing(recipe, base) for name, base in bases.items()}
    name = min(found, key=lambda name: len(found[name]))
    return name, found[name]


def _differing(recipe: Recipe, base: Recipe) -> dict[str, Any]:
    differing: dict[str, Any] = {"profile": recipe.profile} if recipe.profile != base.profile else {}
    base = in_profile(base, recipe.profile)
    for name in options_of(Recipe):
        value, theirs = value_of(recipe, name), value_of(base, name)
        if name == "verl":
            differing |= {f"verl.{key}": item for key, item in value.items() if theirs.get(key, ...) != item}
        elif value != theirs:
            differing[name] = value
    return differing


def _toml(value: Any) -> str:
    """Returns a value as TOML, which lacks nothing of JSON's but null and writes tables on one line with `=`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _text(field: str, value: Any) -> str:
    """Returns a value as `--set` reads it."""
    if field.startswith("verl."):
        return _toml(value)
    if isinstance(value, dict | tuple):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _seen_from(recipe: Recipe, folder: Path) -> Recipe:
    """Returns a recipe whose relative paths, as seen from a folder, are absolute."""
    function = recipe.reward.function
    return replace(
        recipe,
        model=str((folder / recipe.model).absolute()) if (folder / recipe.model).is_dir() else recipe.model,
        train_dataset=tuple(absolute_name(name, folder) for name in recipe.train_dataset),
        validation_dataset=tuple(absolute_name(name, folder) for name in recipe.validation_dataset),
        reward=replace(recipe.reward, function=str((folder / function).absolute()) if function else ""),
    )


def _read(file: Path, extended_by: tuple[Path, ...]) -> Recipe:
    """Returns the recipe of a file, whose base is read first. Raises UserError that names the file."""
    file = file.absolute()
    if file in extended_by or len(extended_by) >= MOST_FILES:
        chain = " -> ".join(one.name for one in (*extended_by, file))
        raise UserError(f"{chain}: recipe files extend one another in a circle; let one extend a published recipe")
    values = read_toml(file)
    base = values.pop("extends", None)
    if not isinstance(base, str):
        unlike = [name for name in values if name.lower() == "extends"]
        given = f"extends = {base!r}" if base is not None else f"{unlike[0]} = ..." if unlike else "no extends"
        raise UserError(
            f'{file} holds {given}: give extends = "8k", the name of a published recipe'
            f" ({', '.join(RECIPES)}) or another file"
        )
    try:
        recipe = _read(file.parent / base, (*extended_by, file)) if is_file(base) else recipe_named(base)
    except UserError as error:
        raise error if extended_by else UserError(f"{file}: {error}") from error
    changes = {"name": file.stem} | convert_options(values, Recipe, file)
    try:
        if (profile := changes.get("profile")) is not None:
            recipe = in_profile(recipe, profile)
        return _seen_from(with_options(recipe, changes), file.parent)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
