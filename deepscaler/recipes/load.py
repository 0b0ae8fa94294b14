"""Turns a command line into a recipe: a published name or a TOML file, a profile, and changed fields.

extends = "8k"          # a published name, or another file beside this one
name = "short-4b"
model = "Qwen/Qwen3-4B"
max_response_length = 4096
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from deepscaler.data.names import absolute as absolute_name
from deepscaler.recipes.lines import line_of
from deepscaler.recipes.model_shape import check_heads
from deepscaler.recipes.published import FILES, NAMES, RECIPES
from deepscaler.recipes.recipe import Profile, Recipe, with_settings
from deepscaler.recipes.thinking import check_thinking
from deepscaler.system.errors import UserError, unknown
from deepscaler.system.files import read_toml
from deepscaler.system.option import shown_value
from deepscaler.system.options import options_of, with_options

SUFFIX = ".toml"
MOST_FILES = 10
"""Most files that may extend one another; more are a circle or a mistake."""


def load_recipe(given: str, profile: Profile | None = None, settings: Sequence[str] = ()) -> Recipe:
    """Returns the recipe that a command line asks for. Raises UserError if it cannot run."""
    for setting in settings:
        if setting.startswith("profile="):
            raise UserError(f"--set {setting} would change the name alone: give --profile {setting[8:] or 'NAME'}")
    recipe = recipe_named(given)
    # The profile first, so that --set can change what it sets.
    recipe = with_settings(in_profile(recipe, profile or recipe.profile), list(settings))
    # Absolute, because a job, a container or a rerun begins in another folder.
    recipe = _seen_from(recipe, Path.cwd())
    check_heads(recipe)
    check_thinking(recipe)
    return recipe


def recipe_named(given: str) -> Recipe:
    """Returns a published recipe, or that of a file. Raises UserError that lists the published names."""
    if is_file(given):
        return _read(Path(given), ())
    if given in FILES:
        return _read(FILES[given], ())
    if given not in RECIPES:
        raise unknown("recipe", given, NAMES, or_else=f"or a file that ends in {SUFFIX}")
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
        # Both ways: `--profile faithful` must undo all that a fast recipe set, or its name would lie about it.
        asynchronous_rollout=fast,
        filter_groups=fast and recipe.filter_groups,
        # responses of older weights need it: without, AReaL's 1.5B model fell from 42.0 to 23.3 on AIME 2024
        rollout_correction="token" if fast and recipe.recompute_log_probs else "none",
        correction_floor=recipe.correction_floor if fast else 0.0,
    )


def _seen_from(recipe: Recipe, folder: Path) -> Recipe:
    """Returns a recipe whose relative paths, as seen from a folder, are absolute."""
    function = recipe.reward.function
    return replace(
        recipe,
        # A hub id has the form of a relative path, so only a folder that is there is taken for one.
        model=str((folder / recipe.model).absolute()) if (folder / recipe.model).is_dir() else recipe.model,
        train_dataset=tuple(absolute_name(name, folder) for name in recipe.train_dataset),
        validation_dataset=tuple(absolute_name(name, folder) for name in recipe.validation_dataset),
        reward=replace(recipe.reward, function=str((folder / function).absolute()) if function else ""),
    )


def _read(file: Path, extended_by: tuple[Path, ...]) -> Recipe:
    """Returns the recipe of a file, whose base is read first. Raises UserError that names file and line."""
    file = file.absolute()
    if file in extended_by or len(extended_by) >= MOST_FILES:
        chain = " -> ".join(one.name for one in (*extended_by, file))
        raise UserError(f"{chain}: recipe files extend one another in a circle; let one extend a published recipe")
    values = read_toml(file)
    # tomllib gives no lines, so the text is searched for them when something is wrong.
    text = file.read_text(encoding="utf-8-sig")
    base = values.pop("extends", None)
    if not isinstance(base, str):
        unlike = [name for name in values if name.lower() == "extends"]
        given = f"extends = {base!r}" if base is not None else f"{unlike[0]} = ..." if unlike else "no extends"
        raise UserError(
            f'{at(file, text, "extends")} holds {given}: give extends = "8k", the name of a published recipe'
            f" ({', '.join(NAMES)}) or another file"
        )
    try:
        recipe = _read(file.parent / base, (*extended_by, file)) if is_file(base) else recipe_named(base)
    except UserError as error:
        # Once: at each file of a long chain the message would grow by a place.
        raise error if extended_by else UserError(f"{at(file, text, 'extends')}: {error}") from error
    changes = {"name": file.stem} | _converted(values, file, text)
    try:
        if (profile := changes.get("profile")) is not None:
            # Before the file's other fields, for which it then is the base, as on the command line.
            recipe = in_profile(recipe, profile)
        return _seen_from(with_options(recipe, changes), file.parent)
    except UserError as error:
        # A relation names the fields that break it, and the first of them that this file sets has the line.
        guilty = [name for name in changes if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", str(error))]
        raise UserError(f"{at(file, text, *guilty[:1])}: {error}") from error


def _converted(values: dict[str, Any], file: Path, text: str) -> dict[str, Any]:
    """Returns the options that a file sets, typed, by name. Raises UserError that names file, line and nearest name."""
    known = options_of(Recipe)
    tables = {name.partition(".")[0] for name in known if "." in name}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in tables and not isinstance(value, dict):
            raise UserError(
                f"{at(file, text, name)}: invalid value {shown_value(value)} for {name}: expected a table [{name}]"
            )
        given = {f"{name}.{key}": item for key, item in value.items()} if name in tables else {name: value}
        for key, item in given.items():
            try:
                if key not in known:
                    raise unknown_field(key, is_table=isinstance(item, dict))
                found[key] = known[key].convert(item)
                known[key].check(found[key])
            except UserError as error:
                raise UserError(f"{at(file, text, key)}: {error}") from error
    return found


def unknown_field(name: str, *, is_table: bool) -> UserError:
    """Returns the error for a name that is not a field of a recipe; it does not list the 60 valid ones."""
    known = options_of(Recipe)
    names = [*known, *dict.fromkeys(one.partition(".")[0] for one in known if "." in one)]
    here = [one for one in known if one.rpartition(".")[2] == name]  # a key of a table, given without it
    near = here or get_close_matches(name, names, n=1, cutoff=0.5)
    hint = (
        f" (did you mean {near[0]!r}?);"
        if near and not is_table
        else "; a key of verl's belongs into the table [verl];"
    )
    return UserError(f"unknown recipe field {name!r}{hint} `deepscaler recipes 8k` shows them all")


def place_of(given: str, name: str) -> str:
    """Returns `FILE, line N: ` where a recipe file, or one that it extends, sets an option; empty for no file."""
    files = _files_of(given)
    for file in files:
        text = file.read_text(encoding="utf-8-sig")
        if line_of(text, name):
            return f"{at(file, text, name)}: "
    return ""


def _files_of(given: str) -> list[Path]:
    """Returns the file of a recipe that loads, and those that it extends, the first first."""
    found: list[Path] = []
    while is_file(given) or given in FILES:
        file = FILES[given] if given in FILES else (found[-1].parent if found else Path()) / given
        found.append(file.absolute())
        given = str(read_toml(file)["extends"])
    return found


def at(file: Path, text: str, *names: str) -> str:
    """Returns a file, with the line that sets an option where one is named and found."""
    line = line_of(text, names[0]) if names else 0
    return f"{file}, line {line}" if line else str(file)
