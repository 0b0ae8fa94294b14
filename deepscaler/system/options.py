"""Declares options once: a dataclass field with type, default, meaning and range is a flag, a TOML key and a check.

class Sampling:
    num_samples: int = option(16, "responses per problem", at_least=1)
    dtype: Literal["auto", "float32"] = option("auto", "data type of weights and activations")

--num-samples 0      invalid value 0 for --num-samples: expected an integer of at least 1 (responses per problem)
dtype = "float23"    invalid value 'float23' for dtype (did you mean 'float32'?): expected auto or float32

A field whose type is such a class again is a table of a file: its options are named `data.weights`.

msgspec and pydantic check types, too, but word their errors for programs, have no flags, and would need as many lines
around them as this module and its two neighbors have.
"""

import tomllib
from collections.abc import Callable
from dataclasses import MISSING, Field, field, fields, is_dataclass, replace
from functools import cache
from math import inf
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from deepscaler.system.errors import UserError, unknown
from deepscaler.system.files import read_toml
from deepscaler.system.option import KINDS, SEVERAL, Option, Range, shown_value

T = TypeVar("T")

REQUIRED: Any = MISSING
"""The default of an option that must be given."""


def option(
    default: T,
    help: str,  # noqa: A002  argparse's word for it
    *,
    at_least: float = -inf,
    above: float = -inf,
    at_most: float = inf,
    below: float = inf,
    or_zero: bool = False,
    **notes: Any,
) -> T:
    """Returns a dataclass field that declares an option; the annotation gives its type, and a Literal its choices."""
    metadata = {"help": help, "range": Range(at_least, above, at_most, below, or_zero), "notes": notes}
    if isinstance(default, dict):
        # A copy for each instance, because dataclasses refuse a dict as a default: all would share it.
        return cast(T, field(default_factory=lambda: dict(default), metadata=metadata))
    chosen: T = field(default=default, metadata=metadata)
    return chosen


def table(kind: type[T], help: str, **notes: Any) -> T:  # noqa: A002
    """Returns a dataclass field that holds a table of options: a dataclass in which every field has a default."""
    made: T = field(default_factory=kind, metadata={"help": help, "notes": notes})
    return made


def options_of(kind: type[object]) -> dict[str, Option]:
    """Returns every option of a dataclass by name; options of its tables carry the table's name as a prefix."""
    return _options_of(cast(Any, kind))


@cache
def _options_of(kind: Any) -> dict[str, Option]:
    hints = get_type_hints(kind)
    found: dict[str, Option] = {}
    for one in fields(kind):
        if is_dataclass(hints[one.name]):
            inner = _options_of(hints[one.name]).items()
            found |= {f"{one.name}.{name}": replace(option, name=f"{one.name}.{name}") for name, option in inner}
        elif "range" in one.metadata:
            found[one.name] = _option(one, hints[one.name])
    return found


def value_of(owner: Any, name: str) -> Any:
    """Returns the value of an option; `data.weights` is in the table `data`."""
    for part in name.split("."):
        owner = getattr(owner, part)
    return owner


def with_options(owner: T, values: dict[str, Any]) -> T:
    """Returns a dataclass instance with new values for some options; `merged` options keep their other keys."""
    known = options_of(type(owner))
    changes: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if rest:
            inner.setdefault(head, {})[rest] = value
        else:
            changes[name] = {**getattr(owner, name), **value} if known[name].notes.get("merged") else value
    tables = {head: with_options(getattr(owner, head), found) for head, found in inner.items()}
    return cast(T, replace(cast(Any, owner), **changes, **tables))


def check_options(value: Any, label: Callable[[str], str] = str) -> None:
    """Checks every option of a dataclass instance. Raises UserError that names the option with `label`."""
    for name, one in options_of(type(value)).items():
        one.check(value_of(value, name), label(name))


def read_options(file: Path, kind: type[object]) -> dict[str, Any]:
    """Returns the typed options in a TOML file. Raises UserError that names the file."""
    return convert_options(read_toml(file), kind, file)


def convert_options(values: dict[str, Any], kind: type[object], file: Path) -> dict[str, Any]:
    """Returns a file's values in the types of their options, by name. Raises UserError that names the file."""
    known = options_of(kind)
    tables = {name.partition(".")[0] for name in known if "." in name}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in tables and isinstance(value, dict):
            given = {f"{name}.{key}": item for key, item in value.items()}
        elif name in tables:
            raise UserError(f"invalid value {shown_value(value)} for {name} in {file}: expected a table [{name}]")
        else:
            given = {name: value}
        for key, item in given.items():
            if key not in known:
                raise unknown(f"option in {file}", key, [*known, *tables])
            found[key] = known[key].convert(item, f"{key} in {file}")
    return found


def parse_settings(settings: list[str], kind: type[object], what: str) -> dict[str, Any]:
    """Returns the options that `name=value` texts set. Raises UserError for unknown names and invalid values."""
    known: dict[str, Option] = options_of(kind)
    found: dict[str, Any] = {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator:
            raise UserError(f"invalid setting {setting!r}: expected NAME=VALUE")
        holder, _, key = name.partition(".")
        if name not in known and key and holder in known and known[holder].kind is dict:
            found.setdefault(holder, {})[key] = any_value(text)
        elif name not in known:
            raise unknown(what, name, known)
        else:
            found[name] = known[name].parse(text)
    return found


def any_value(text: str) -> Any:
    """Returns a text as a TOML value (a number, a list, true); any other text stays a text."""
    try:
        # A second line could hold keys of its own, or a table.
        return tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return text


def _option(one: "Field[Any]", hint: Any) -> Option:
    """Analyzes a field's annotation: `Path | None` is a path, and a Literal lists choices."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(part for part in get_args(hint) if part is not NoneType)
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    kind = str if choices else get_origin(hint) or hint
    item: Any = str
    if kind in (tuple, dict):
        item = get_args(hint)[1 if kind is dict else 0]
        item = object if item is Any else item
    assert item in SEVERAL if kind in (tuple, dict) else kind in KINDS, f"{one.name}: invalid type {hint}"
    default = one.default if one.default_factory is MISSING else one.default_factory()
    details = one.metadata
    return Option(one.name, kind, item, choices, default, details["help"], details["range"], details["notes"])
