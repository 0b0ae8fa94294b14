"""Reads the record of a training, and checks all of it before any use, because it may come from strangers.

{"schema": 1, "stages": [{"name": "../x", ...}]}
UserError("deepscaler.json cannot be used: the name of stage 1 is '../x', expected letters, digits, . _ or -")
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepscaler.data.names import is_hub, parse_hub
from deepscaler.models.present import is_hub_id
from deepscaler.system.errors import UserError
from deepscaler.system.files import file_size, in_bytes, read_json
from deepscaler.system.option import shown_value

MAX_BYTES = 16 << 20
"""Most bytes of a record; those of long chains have some hundred thousand."""

MAX_DEPTH = 16
"""Most tables and lists inside one another; records have 7, and much deeper ones would end Python's own recursion."""

MAX_NAME = 100
"""Most characters of a stage's name, which becomes the name of a file and a folder."""

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_table(of: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(of, value.values()))


def _is_number(value: Any) -> bool:
    # Not isinstance, because a bool is an int to Python.
    return type(value) in (int, float)


def _is_anything(value: Any) -> bool:
    return True


def _holds(needed: Mapping[str, Check], others: Mapping[str, Check] | None = None) -> Check:
    """Returns a check of a table that has some keys, and perhaps others; further keys may hold anything."""
    given = {**needed, **(others or {})}
    return lambda value: (
        isinstance(value, dict)
        and needed.keys() <= value.keys()
        and all(check(value[name]) for name, check in given.items() if name in value)
    )


def _is_steps(value: Any) -> bool:
    # int() reads signs, spaces and digits of all scripts, too.
    return _is_table(_is_table(_is_number))(value) and all(re.fullmatch("[0-9]{1,9}", step) for step in value)


_RECIPE = _holds(
    {"name": _is_text},
    {
        **dict.fromkeys(("train_dataset", "validation_dataset"), lambda value: _is_text(value) or _is_texts(value)),
        **{"model": _is_text, "reward": _holds({}, {"function": _is_text})},
    },
)
PARTS: dict[str, tuple[Check, str]] = {
    "recipe": (_RECIPE, "a table with a name, whose data sets are texts and whose reward is a table"),
    "model": (_holds({"name": _is_text}, {"identity": _is_text}), "a table with a name and an identity"),
    "name": (_is_text, "text"),
    "device": (lambda value: value in ("cuda", "cpu"), "cuda or cpu"),
    "left_out": (_is_texts, "a list of texts"),
    "steps": (lambda value: type(value) is int, "an integer"),
    "data": (_is_table(_is_text), "a table of texts"),
    "sets": (_is_table(_is_table(_is_anything)), "a table of tables"),
    "reward": (
        _holds(dict.fromkeys(("file", "function"), _is_text), dict.fromkeys(("sha256", "text", "source"), _is_text)),
        "a table with a file and a function",
    ),
    "versions": (_is_table(_is_text), "a table of texts"),
    "hardware": (
        _holds({}, {"gpus": _is_texts, "cpu": _is_text, "cores": _is_number}),
        "a table of gpus, cpu and cores",
    ),
    "kit": (_is_text, "text"),
    "git_revision": (lambda value: value is None or _is_text(value), "text"),
    "first_steps": (_is_steps, "a table of numbers for each step"),
}
"""Parts of a run.json or of a stage in deepscaler.json, what they have to be, and that in words."""

NEEDED = ("recipe", "model")
"""Parts that every version of the kit has recorded."""


def read_record(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file of a bounded size and depth. Raises UserError for anything else."""
    if (size := file_size(path)) > MAX_BYTES:
        raise UserError(f"{path} is not the record of a training: it has {in_bytes(size)}, more than any has")
    found = read_json(path)
    if _depth(found) > MAX_DEPTH:
        raise UserError(f"{path} is not the record of a training: it is nested more than {MAX_DEPTH} deep")
    return found


def check_parts(stage: Any, where: str) -> None:
    """Raises UserError if a run.json, or a stage of deepscaler.json, lacks a part or holds one of another kind."""
    if not isinstance(stage, dict):
        raise UserError(f"{where} cannot be used: a stage is {shown_value(stage)}, expected a table")
    for name, (check, expected) in PARTS.items():
        if name in stage and not check(stage[name]):
            raise UserError(f"{where} cannot be used: {name} is {shown_value(stage[name])}, expected {expected}")
        if name in NEEDED and name not in stage:
            raise UserError(f"{where} cannot be used: a stage has no {name}, expected {expected}")
    code = stage.get("reward", {}).get("text", "")
    for text in _texts(stage):
        # All are written as UTF-8, in which half a character has no bytes, and all but code are printed: an escape
        # sequence would draw on the terminal.
        refused = ("Cs",) if text is code else ("Cc", "Cs")
        if any(unicodedata.category(one) in refused and one not in "\n\r\t" for one in text):
            raise UserError(f"{where} cannot be used: it holds the text {text[:40]!a} with control characters")


def check_names(stages: Sequence[Mapping[str, Any]], where: str) -> None:
    """Raises UserError if a name in checked stages would lead out of its folder, or two stages have the same."""
    names: list[str] = []
    for number, stage in enumerate(stages, start=1):
        recipe, reward = stage["recipe"], stage.get("reward", {})
        name = stage.get("name", recipe["name"])

        def refuse(what: str, value: str, expected: str, number: int = number) -> UserError:
            shown = shown_value(value)
            return UserError(f"{where} cannot be used: {what} of stage {number} is {shown}, expected {expected}")

        for one in (name, recipe["name"]):
            if not re.fullmatch(r"\w[\w.-]*", one) or len(one) > MAX_NAME:
                raise refuse("the name", one, "letters, digits, . _ or -")
        if name in names:
            raise refuse("the name", name, "another one than that of an earlier stage")
        names.append(name)
        for one in _data_names(stage):
            if is_hub(one):
                parse_hub(one)
            elif not _is_bare(one):
                raise refuse("a data set", one, "a name without folders")
        if not is_hub_id(stage["model"]["name"]) and not _is_bare(stage["model"]["name"]):
            raise refuse("the model", stage["model"]["name"], "ORG/NAME or a name without folders")
        # For the hub it is the revision, which becomes part of a path in its cache.
        if not re.fullmatch(r"[\w:.-]*", stage["model"].get("identity", "")):
            raise refuse("the model's identity", stage["model"]["identity"], "a commit or a hash")
        function = recipe.get("reward", {}).get("function", "")
        if function and not _is_bare(function):
            raise refuse("the recipe's reward.function", function, "FILE.py:NAME without folders")
        if reward and not (_is_bare(reward["file"]) and reward["file"].endswith(".py")):
            raise refuse("the reward's file", reward["file"], "the name of a .py file without folders")
        if reward and not reward["function"].isidentifier():
            raise refuse("the reward's function", reward["function"], "the name of a function")


def _data_names(stage: Mapping[str, Any]) -> list[str]:
    found = [*stage.get("data", {}), *stage.get("sets", {})]
    for option in ("train_dataset", "validation_dataset"):
        found += sets_of(stage["recipe"], option)
    return found


def sets_of(recipe: Mapping[str, Any], option: str) -> list[str]:
    """Returns the names of a recipe's data sets; older kits wrote a single one as a text."""
    value = recipe.get(option, [])
    return [value] if isinstance(value, str) else list(value)


def _is_bare(name: str) -> bool:
    return Path(name).name == name and not name.startswith((".", "~"))


def _depth(value: Any) -> int:
    # With a list of one's own, because a function that calls itself would end where the record is too deep.
    deepest, left = 0, [(value, 1)]
    while left:
        one, depth = left.pop()
        deepest = max(deepest, depth)
        items = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        left += [(item, depth + 1) for item in items if isinstance(item, dict | list)]
    return deepest


def _texts(value: Any) -> Iterator[str]:
    """Yields every text of a value of a bounded depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
