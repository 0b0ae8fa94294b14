"""Converts declared options to a command's flags and back: --num-samples 4 <-> num_samples = 4."""

import argparse
from collections.abc import Callable, Collection, Mapping
from math import inf
from pathlib import Path
from typing import Any

from deepscaler.system.option import Option, Range
from deepscaler.system.options import REQUIRED, options_of


def add_flags(
    parser: argparse.ArgumentParser, kind: type[object], without: Collection[str] = ()
) -> dict[str, argparse.Action]:
    """Adds a flag for every option in its `section`, and returns the flags by name.

    A flag that is not given leaves no attribute in the parsed arguments.
    """
    actions: dict[str, argparse.Action] = {}
    groups: dict[str, argparse._ArgumentGroup] = {}
    for one in options_of(kind).values():
        if one.name in without:
            continue
        section = one.notes.get("section", "options")
        if section not in groups:
            groups[section] = parser.add_argument_group(section)
        text = f"{one.help}{_default(one)}".replace("%", "%%")
        flags = groups[section]
        # absent rather than set to its default, so a flag that is not given does not override a file's value
        actions[one.name] = flags.add_argument(one.flag, default=argparse.SUPPRESS, help=text, **_argument(one))
    return actions


def given_options(arguments: argparse.Namespace, kind: type[object]) -> dict[str, Any]:
    """Returns the options whose flags were given."""
    known = options_of(kind)
    given = {name: value for name, value in vars(arguments).items() if name in known}
    return {name: tuple(value) if known[name].kind is tuple else value for name, value in given.items()}


def to_flags(value: Any, defaults: Mapping[str, Any] | None = None) -> list[str]:
    """Returns the flags that reproduce a dataclass instance: those of the options without their default value.

    `defaults` holds the defaults that another option decides, by name.
    """
    decided = defaults or {}
    flags: list[str] = []
    for name, one in options_of(type(value)).items():
        chosen = getattr(value, name)
        if one.default is not REQUIRED and chosen == decided.get(name, one.default):
            continue
        values = chosen if isinstance(chosen, tuple) else [] if chosen is True else [chosen]
        flags += [one.flag, *map(str, values)]
    return flags


def whole(minimum: int, at_most: float = inf) -> Callable[[str], int]:
    """Returns the argument type that accepts integers in a range."""
    return _number(int, Range(at_least=minimum, at_most=at_most))


def number(above: float) -> Callable[[str], float]:
    """Returns the argument type that accepts numbers above a bound."""
    return _number(float, Range(above=above))


def _number(kind: type, allowed: Range) -> Callable[[str], Any]:
    return _reader(Option("", kind, str, (), None, "", allowed, {}))


def _argument(one: Option) -> dict[str, Any]:
    """Returns the arguments with which argparse reads the flag."""
    if one.kind is bool:
        return {"action": "store_true"}
    if one.kind is tuple:
        return {"nargs": "+", "metavar": one.notes.get("metavar", "NAME")}
    if one.choices:
        return {"choices": one.choices}
    metavar = {int: "N", float: "X", Path: "PATH", str: "TEXT"}[one.kind]
    return {"type": _reader(one), "metavar": one.notes.get("metavar", metavar)}


def _reader(one: Option) -> Callable[[str], Any]:
    """Returns a reader whose error argparse prints in the wording of all other errors."""

    def read(text: str) -> Any:
        try:
            value = one.read(text)
        except ValueError:
            value = None
        if value is None or not one.accepts(value):
            raise argparse.ArgumentTypeError(one.refusal(text if value is None else value))
        return value

    return read


def _default(one: Option) -> str:
    if one.default in (REQUIRED, None, "", False) or one.default == {}:
        return ""
    shown = " ".join(one.default) if isinstance(one.default, tuple) else str(one.default)
    return f" (default: {shown})" if shown else ""
