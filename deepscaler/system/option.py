"""Represents one option: its type, choices and range, the parsing of its values, and the error for an invalid one."""

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf, isfinite
from pathlib import Path
from typing import Any

from deepscaler.system.errors import UserError

KINDS: dict[type, str] = {bool: "true or false", int: "an integer", float: "a number", str: "text", Path: "a path"}

SEVERAL: dict[type, str] = {str: "texts", float: "numbers", object: "values"}
"""Words for the items of a list or table, by their type."""


MAX_DIGITS = 18
"""Most digits of an integer, because later code uses 64 bits or floats."""

MAX_SHOWN = 80
"""Most characters of a refused value that an error repeats."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds the numbers that an option accepts; `or_zero` also accepts 0, which then disables something."""

    at_least: float = -inf
    above: float = -inf
    at_most: float = inf
    below: float = inf
    or_zero: bool = False

    def holds(self, value: float) -> bool:
        """Returns whether a number is in the range."""
        # In this order: isfinite raises OverflowError for an integer beyond a float's range.
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
    """Holds the declaration of a field, with its type analyzed."""

    name: str
    """Name, preceded by the table it is in: `data.weights`."""
    kind: type
    """Type of the value: bool, int, float, str, Path, tuple or dict."""
    item: type
    """Type of the items of a tuple or dict: str or float, or object for any value in a file."""
    choices: tuple[str, ...]
    default: Any
    help: str
    allowed: Range
    notes: dict[str, Any]
    """Further properties that the owner of the options defines: `source`, `result`, `section`."""

    @property
    def flag(self) -> str:
        """Returns `--num-samples` for `num_samples`."""
        return flag(self.name)

    @property
    def expected(self) -> str:
        """Returns a description of the valid values."""
        if self.choices:
            return " or ".join(self.choices) if len(self.choices) < 3 else f"one of {', '.join(self.choices)}"
        several = {tuple: "a list of", dict: "a table of"}
        kind = f"{several[self.kind]} {SEVERAL[self.item]}" if self.kind in several else KINDS[self.kind]
        return f"{kind} {self.allowed}".rstrip()

    def refuse(self, value: Any, label: str = "") -> UserError:
        """Returns the error for a value that this option does not accept."""
        return UserError(self.refusal(value, f" for {label or self.name}"))

    def refusal(self, value: Any, place: str = "") -> str:
        """Returns the text of that error; argparse adds the flag's name itself."""
        shown = shown_value(value)
        nearest = get_close_matches(shown.strip("'"), self.choices, n=1, cutoff=0.5)
        hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
        meaning = f" ({self.help})" if self.help and not nearest else ""
        limit = digits_limit(value) if self.kind is int else ""
        return f"invalid value {shown}{place}{hint}: expected {self.expected}{limit}{meaning}"

    def accepts(self, value: Any) -> bool:
        """Returns whether a value of the right type is in the range or among the choices."""
        if self.choices:
            return value in self.choices
        numbers = value.values() if self.kind is dict else value if self.kind is tuple else (value,)
        is_number = float in (self.kind, self.item) or self.kind is int
        return not is_number or all(map(self.allowed.holds, numbers))

    def check(self, value: Any, label: str = "") -> None:
        """Raises UserError for a value outside the range or the choices."""
        if not self.accepts(value):
            raise self.refuse(value, label)

    def read(self, text: str) -> Any:
        """Returns the value of a flag's text. Raises ValueError if it has the wrong form."""
        if self.kind is bool:
            if text.lower() not in ("true", "false"):
                raise ValueError
            return text.lower() == "true"
        if self.kind is int:
            # More than 4300 digits raise ValueError here, so no text can keep the process busy.
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
        """Returns the value of a flag's text. Raises UserError if it has the wrong form."""
        try:
            return self.read(text)
        except (ValueError, TypeError, RecursionError):
            raise self.refuse(text, label) from None

    def convert(self, value: Any, label: str = "") -> Any:
        """Returns a value from a TOML or JSON file in the field's type. Raises UserError if it has another type."""
        try:
            if self.kind is tuple and isinstance(value, str) and self.notes.get("one_or_more"):
                return (value,)
            if self.kind is tuple and isinstance(value, list):
                return tuple(_as(self.item, item) for item in value)
            if self.kind is dict and isinstance(value, dict):
                return {name: _as(self.item, item) for name, item in value.items()}
            return _as(self.kind, value)
        except ValueError:
            raise self.refuse(value, label) from None


def _as(kind: type, value: Any) -> Any:
    """Returns a single value from a file as a type. Raises ValueError if it has another type."""
    if kind is float and type(value) is int and not _is_long(value):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    # Not isinstance: a bool is an int to Python, and `true` must not pass for 1.
    if kind is object or type(value) is kind:
        return value
    raise ValueError


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError
    return name, value


def flag(name: str) -> str:
    """Returns `--num-samples` for `num_samples`."""
    return "--" + name.replace("_", "-")


def _is_long(value: Any) -> bool:
    return type(value) is int and abs(value) >= 10**MAX_DIGITS


def digits_limit(value: Any) -> str:
    """Returns the addition to an integer's expectation if a value has too many digits; otherwise nothing."""
    is_long_text = isinstance(value, str) and re.fullmatch(rf"[+-]?[\d_]{{{MAX_DIGITS + 1},}}", value)
    return f", with at most {MAX_DIGITS} digits" if is_long_text or _is_long(value) else ""


def shown_value(value: Any) -> str:
    """Returns a refused value for an error, shortened if necessary."""
    # Python refuses to write integers of more than 4300 digits (sys.set_int_max_str_digits).
    if _is_long(value):
        # 0.30103 is log10(2).
        return f"of {int(value.bit_length() * 0.30103) + 1} digits"
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 20]}... ({len(text)} characters)"


def _plain(number: float) -> str:
    """Returns a bound as people write it: 4294967295, not 4.29497e+09."""
    return f"{number:.0f}" if number == int(number) else f"{number:g}"
