"""Declares options once: a dataclass field with its type, default, meaning and range is a flag, a TOML key and a check.

class Sampling:
    num_samples: int = option(16, "responses per problem", at_least=1)
    dtype: Literal["auto", "float32"] = option("auto", "type of weights and activations")

--num-samples 0      invalid value 0 for --num-samples: expected an integer of at least 1 (responses per problem)
dtype = "float23"    invalid value 'float23' for dtype: expected auto or float32; did you mean 'float32'?

A field whose type is such a class again is a table of a file: its options are named `data.weights`.
"""

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from math import inf, isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from deepscaler.system.errors import UserError, unknown
from deepscaler.system.files import read_toml

T = TypeVar("T")

REQUIRED: Any = MISSING
"""The default of an option that must be given."""

KINDS: dict[type, str] = {bool: "true or false", int: "an integer", float: "a number", str: "text", Path: "a path"}

SEVERAL: dict[type, str] = {str: "texts", float: "numbers", object: "values"}
"""Items of a list or table."""


MAX_DIGITS = 18
"""Of an integer: what follows it here counts in 64 bits or in floats."""

MAX_SHOWN = 80
"""Characters of a refused value that an error repeats."""


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers that an option accepts; `or_zero` also accepts 0, which then switches something off."""

    at_least: float = -inf
    above: float = -inf
    at_most: float = inf
    below: float = inf
    or_zero: bool = False

    def holds(self, value: float) -> bool:
        """Returns whether a number lies in the range."""
        if _is_long(value) or not isfinite(value):
            return False
        inside = self.at_least <= value <= self.at_most and self.above < value < self.below
        return inside or (self.or_zero and value == 0)

    def __str__(self) -> str:
        """Returns words that follow `an integer`: `of at least 1`, `above 0 and below 1`."""
        bounds = {
            "of at least": self.at_least,
            "above": self.above,
            "at most": self.at_most,
            "below": self.below,
        }
        words = [f"{word} {_plain(bound)}" for word, bound in bounds.items() if isfinite(bound)]
        return " and ".join(words) + (", or 0" if self.or_zero else "")


@dataclass(frozen=True, slots=True)
class Option:
    """What a field's declaration says, with its type taken apart."""

    name: str
    """With the table it is in: `data.weights`."""
    kind: type
    """bool, int, float, str, Path, tuple or dict."""
    item: type
    """str or float, or object for any value of a file, where `kind` is tuple or dict (by name)."""
    choices: tuple[str, ...]
    default: Any
    help: str
    allowed: Range
    notes: dict[str, Any]
    """What the owner of the options says beside: `source`, `result`, `section`."""

    @property
    def flag(self) -> str:
        """Returns `--num-samples` for `num_samples`."""
        return flag(self.name)

    @property
    def expected(self) -> str:
        """Returns what may be given, in words."""
        if self.choices:
            return " or ".join(self.choices) if len(self.choices) < 3 else f"one of {', '.join(self.choices)}"
        several = {tuple: "a list of", dict: "a table of"}
        kind = f"{several[self.kind]} {SEVERAL[self.item]}" if self.kind in several else KINDS[self.kind]
        return f"{kind} {self.allowed}".rstrip()

    def refuse(self, value: Any, label: str = "") -> UserError:
        """Returns the one error for a value that this option does not accept."""
        return UserError(self.refusal(value, f" for {label or self.name}"))

    def refusal(self, value: Any, place: str = "") -> str:
        """Returns the words of that error; argparse names the place by itself."""
        shown = shown_value(value)
        nearest = get_close_matches(shown.strip("'"), self.choices, n=1, cutoff=0.5)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else f" ({self.help})" if self.help else ""
        limit = digits_limit(value) if self.kind is int else ""
        return f"invalid value {shown}{place}: expected {self.expected}{limit}{hint}"

    def accepts(self, value: Any) -> bool:
        """Returns whether a value of the right type is in the range, or among the choices."""
        if self.choices:
            return value in self.choices
        numbers = value.values() if self.kind is dict else value if self.kind is tuple else (value,)
        is_number = float in (self.kind, self.item) or self.kind is int
        return not is_number or all(map(self.allowed.holds, numbers))

    def check(self, value: Any, label: str = "") -> None:
        """Raises UserError for a value out of the range or the choices."""
        if not self.accepts(value):
            raise self.refuse(value, label)

    def read(self, text: str) -> Any:
        """Returns the value that a flag's text means. Raises ValueError."""
        if self.kind is bool:
            if text.lower() not in ("true", "false"):
                raise ValueError
            return text.lower() == "true"
        if self.kind is int:
            return int(text.replace("_", ""))
        if self.kind is Path and not text:
            raise ValueError  # Path("") is the working directory
        if self.kind is tuple:
            items = json.loads(text) if text.startswith("[") else text.split(",") if text else []
            return tuple(map(self.item, items))
        if self.kind is dict:
            pairs = json.loads(text) if text.startswith("{") else dict(_pair(part) for part in text.split(",") if part)
            return {str(name): pairs[name] if self.item is object else self.item(pairs[name]) for name in pairs}
        return self.kind(text)

    def parse(self, text: str, label: str = "") -> Any:
        """Returns the value that a flag's text means. Raises UserError."""
        try:
            return self.read(text)
        except (ValueError, TypeError, RecursionError):
            raise self.refuse(text, label) from None

    def convert(self, value: Any, label: str = "") -> Any:
        """Returns a value of a TOML or JSON file in the type of the field. Raises UserError."""
        if self.kind is tuple and isinstance(value, str) and self.notes.get("one_or_more"):
            return (value,)
        if self.kind is tuple and isinstance(value, list):
            return tuple(self._item(item, value, label) for item in value)
        if self.kind is dict and isinstance(value, dict):
            return {name: self._item(item, value, label) for name, item in value.items()}
        if self.kind is float and type(value) is int and not _is_long(value):
            return float(value)
        if self.kind is Path and isinstance(value, str):
            return Path(value)
        if type(value) is self.kind and self.kind in (bool, int, float, str):
            return value
        raise self.refuse(value, label)

    def _item(self, item: Any, whole: Any, label: str) -> Any:
        if self.item is float and type(item) is int and not _is_long(item):
            return float(item)
        if self.item is object or type(item) is self.item:
            return item
        raise self.refuse(whole, label)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError
    return name, value


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
    """Returns a dataclass field that declares an option; its type is that of the annotation (choices: a Literal)."""
    metadata = {"help": help, "range": Range(at_least, above, at_most, below, or_zero), "notes": notes}
    if isinstance(default, dict):
        return cast(T, field(default_factory=lambda: dict(default), metadata=metadata))
    chosen: T = field(default=default, metadata=metadata)
    return chosen


def table(kind: type[T], help: str, **notes: Any) -> T:  # noqa: A002
    """Returns a dataclass field that holds a table of options: a dataclass whose defaults are all there."""
    made: T = field(default_factory=kind, metadata={"help": help, "notes": notes})
    return made


def options_of(kind: type[object]) -> dict[str, Option]:
    """Returns every option of a dataclass by name; those of its tables with the table's name before it."""
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
    """Returns the value of an option: `data.weights` is looked up in the table `data`."""
    for part in name.split("."):
        owner = getattr(owner, part)
    return owner


def with_options(owner: T, values: dict[str, Any]) -> T:
    """Returns a dataclass instance with other values of some options, by name; `merged` ones keep their other keys."""
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
    """Checks every option of a dataclass instance. Raises UserError that names it as `label` does."""
    for name, one in options_of(type(value)).items():
        one.check(value_of(value, name), label(name))


def read_options(file: Path, kind: type[object]) -> dict[str, Any]:
    """Returns the options that a TOML file gives, typed. Raises UserError that names the file."""
    return convert_options(read_toml(file), kind, file)


def convert_options(values: dict[str, Any], kind: type[object], file: Path) -> dict[str, Any]:
    """Returns values of a file in the types of their options, by name. Raises UserError that names the file."""
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
    """Returns the options that `name=value` texts set. Raises UserError for unknown names and unreadable values."""
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
    """Returns what a text means as a TOML value: a number, a list, true; anything else is the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return text


def flag(name: str) -> str:
    """Returns `--num-samples` for `num_samples`."""
    return "--" + name.replace("_", "-")


def _option(one: "Field[Any]", hint: Any) -> Option:
    """Takes a field's annotation apart: `Path | None` is a path, a Literal its choices."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(part for part in get_args(hint) if part is not NoneType)
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    kind = str if choices else get_origin(hint) or hint
    item: Any = str
    if kind in (tuple, dict):
        item = get_args(hint)[1 if kind is dict else 0]
        item = object if item is Any else item
    assert item in SEVERAL if kind in (tuple, dict) else kind in KINDS, f"{one.name}: no option of {hint}"
    default = one.default if one.default_factory is MISSING else one.default_factory()
    details = one.metadata
    return Option(one.name, kind, item, choices, default, details["help"], details["range"], details["notes"])


def _is_long(value: Any) -> bool:
    return type(value) is int and abs(value) >= 10**MAX_DIGITS


def digits_limit(value: Any) -> str:
    """Returns what to add to the expectation of an integer where one has too many digits; else nothing."""
    is_long_text = isinstance(value, str) and re.fullmatch(rf"[+-]?[\d_]{{{MAX_DIGITS + 1},}}", value)
    return f", with at most {MAX_DIGITS} digits" if is_long_text or _is_long(value) else ""


def shown_value(value: Any) -> str:
    """Returns a refused value as an error repeats it: Python writes no integer of more than 4300 digits."""
    if _is_long(value):
        return f"of {int(value.bit_length() * 0.30103) + 1} digits"
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 20]}... ({len(text)} characters)"


def _plain(number: float) -> str:
    """Returns a bound as people write it: 4294967295, not 4.29497e+09."""
    return f"{number:.0f}" if number == int(number) else f"{number:g}"
