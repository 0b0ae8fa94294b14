"""Options declared once: a dataclass field with its type, default, meaning and range is a flag, a TOML key and a check.

class Sampling:
    num_samples: int = option(16, "responses per problem", at_least=1)
    dtype: Literal["auto", "float32"] = option("auto", "type of weights and activations")

--num-samples 0      invalid value 0 for --num-samples: expected an integer of at least 1 (responses per problem)
dtype = "float23"    invalid value 'float23' for dtype: expected auto or float32; did you mean 'float32'?
"""

import argparse
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
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

KINDS: dict[type, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    Path: "a path",
    tuple: "a list of texts",
    dict: "a table of texts",
}


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
    kind: type
    """bool, int, float, str, Path, tuple (of str) or dict (of str to str)."""
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
        return f"{KINDS[self.kind]} {self.allowed}".rstrip()

    def refuse(self, value: Any, label: str = "") -> UserError:
        """Returns the one error for a value that this option does not accept."""
        shown = shown_value(value)
        nearest = get_close_matches(shown.strip("'"), self.choices, n=1, cutoff=0.5)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else f" ({self.help})"
        limit = digits_limit(value) if self.kind is int else ""
        return UserError(f"invalid value {shown} for {label or self.name}: expected {self.expected}{limit}{hint}")

    def check(self, value: Any, label: str = "") -> None:
        """Raises UserError for a value out of the range or the choices."""
        if self.choices and value not in self.choices:
            raise self.refuse(value, label)
        if self.kind in (int, float) and not self.allowed.holds(value):
            raise self.refuse(value, label)

    def parse(self, text: str, label: str = "") -> Any:
        """Returns the value that a flag's text means. Raises UserError."""
        try:
            if self.kind is bool:
                return {"true": True, "false": False}[text.lower()]
            if self.kind is int:
                return int(text.replace("_", ""))
            if self.kind is Path and not text:
                raise ValueError  # Path("") is the working directory
            return self.kind(text)
        except (KeyError, ValueError):
            raise self.refuse(text, label) from None

    def convert(self, value: Any, label: str = "") -> Any:
        """Returns a value of a TOML or JSON file in the type of the field. Raises UserError."""
        if self.kind is float and type(value) is int and not _is_long(value):
            return float(value)
        if self.kind is Path and isinstance(value, str):
            return Path(value)
        if self.kind is tuple and isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        if self.kind is dict and isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
            return value
        if type(value) is self.kind and self.kind in (bool, int, float, str):
            return value
        raise self.refuse(value, label)


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
        return cast(T, field(default_factory=dict, metadata=metadata))
    chosen: T = field(default=default, metadata=metadata)
    return chosen


def options_of(kind: type[object]) -> dict[str, Option]:
    """Returns every option of a dataclass by name."""
    return _options_of(cast(Any, kind))


@cache
def _options_of(kind: Any) -> dict[str, Option]:
    hints = get_type_hints(kind)
    return {one.name: _option(one, hints[one.name]) for one in fields(kind) if "range" in one.metadata}


def check_options(value: Any, label: Callable[[str], str] = str) -> None:
    """Checks every option of a dataclass instance. Raises UserError that names it as `label` does."""
    for name, one in options_of(type(value)).items():
        one.check(getattr(value, name), label(name))


def read_options(file: Path, kind: type[object]) -> dict[str, Any]:
    """Returns the options that a TOML file gives, typed. Raises UserError that names the file."""
    return convert_options(read_toml(file), kind, file)


def convert_options(values: dict[str, Any], kind: type[object], file: Path) -> dict[str, Any]:
    """Returns values of a file in the types of their options. Raises UserError that names the file."""
    known = options_of(kind)
    for name in values:
        if name not in known:
            raise unknown(f"option in {file}", name, known)
    return {name: known[name].convert(value, f"{name} in {file}") for name, value in values.items()}


def parse_settings(settings: list[str], kind: type[object], what: str) -> dict[str, Any]:
    """Returns the options that `name=value` texts set. Raises UserError for unknown names and unreadable values."""
    known, found = options_of(kind), {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator:
            raise UserError(f"invalid setting {setting!r}: expected NAME=VALUE")
        if name not in known:
            raise unknown(what, name, known)
        found[name] = known[name].parse(text)
    return found


def flag(name: str) -> str:
    """Returns `--num-samples` for `num_samples`."""
    return "--" + name.replace("_", "-")


def add_flags(parser: argparse.ArgumentParser, kind: type[object]) -> dict[str, argparse.Action]:
    """Adds a flag for every option, in its `section`; returns them by name. What is not given is not parsed at all."""
    actions: dict[str, argparse.Action] = {}
    groups: dict[str, argparse._ArgumentGroup] = {}
    for one in options_of(kind).values():
        section = one.notes.get("section", "options")
        if section not in groups:
            groups[section] = parser.add_argument_group(section)
        text = f"{one.help}{_default(one)}".replace("%", "%%")
        flags = groups[section]
        actions[one.name] = flags.add_argument(one.flag, default=argparse.SUPPRESS, help=text, **_argument(one))
    return actions


def given_options(arguments: argparse.Namespace, kind: type[object]) -> dict[str, Any]:
    """Returns the options whose flags were given."""
    known = options_of(kind)
    given = {name: value for name, value in vars(arguments).items() if name in known}
    return {name: tuple(value) if known[name].kind is tuple else value for name, value in given.items()}


def to_flags(value: Any) -> list[str]:
    """Returns the flags that give a dataclass instance again: those of the options that are not at their default."""
    flags: list[str] = []
    for name, one in options_of(type(value)).items():
        chosen = getattr(value, name)
        if one.default is not REQUIRED and chosen == one.default:
            continue
        values = chosen if isinstance(chosen, tuple) else [] if chosen is True else [chosen]
        flags += [one.flag, *map(str, values)]
    return flags


def _option(one: "Field[Any]", hint: Any) -> Option:
    """Takes a field's annotation apart: `Path | None` is a path, a Literal its choices."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(part for part in get_args(hint) if part is not NoneType)
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    kind = str if choices else get_origin(hint) or hint
    assert kind in KINDS, f"{one.name}: no option of {hint}"
    default = {} if one.default_factory is dict else one.default
    details = one.metadata
    return Option(one.name, kind, choices, default, details["help"], details["range"], details["notes"])


def _argument(one: Option) -> dict[str, Any]:
    """Returns how argparse reads the flag."""
    if one.kind is bool:
        return {"action": "store_true"}
    if one.kind is tuple:
        return {"nargs": "+", "metavar": one.notes.get("metavar", "NAME")}
    if one.choices:
        return {"choices": one.choices}
    metavar = {int: "N", float: "X", Path: "PATH", str: "TEXT"}[one.kind]
    return {"type": _reader(one), "metavar": one.notes.get("metavar", metavar)}


def _reader(one: Option) -> Callable[[str], Any]:
    """Returns a reader whose error argparse prints in the words of all others."""

    def read(text: str) -> Any:
        try:
            value = one.parse(text, one.flag)
            one.check(value, one.flag)
        except UserError as error:
            raise argparse.ArgumentTypeError(re.sub(r" for --[\w-]+:", ":", str(error))) from None
        return value

    return read


def _default(one: Option) -> str:
    if one.default in (REQUIRED, None, "", False) or one.default == {}:
        return ""
    shown = " ".join(one.default) if isinstance(one.default, tuple) else str(one.default)
    return f" (default: {shown})" if shown else ""


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
