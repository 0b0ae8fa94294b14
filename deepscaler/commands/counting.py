"""Options that count only beside others say so where they are declared; given elsewhere, they are refused.

counts_with(parser.add_argument("--nodes", type=whole(1)), "--engines", on="slurm")
--nodes 2 counts only with --engines or --on slurm; add one, or leave --nodes out
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """Condition under which an option counts."""

    told: str
    """`with --engines`, `without --shard`, ..."""
    way_out: str
    holds: Callable[[Values], bool]
    value: str | None
    """Only this value of the option depends on it; None for every value."""


def counts_with(
    action: argparse.Action, *flags: str, value: str | None = None, **choices: str | tuple[str, ...]
) -> argparse.Action:
    """Declares that an option counts only with one of some flags (set), or of some choices such as `on="slurm"`.

    A complaint names every choice: of `on=("slurm", "k8s")` both.
    """
    allowed = {name: (choice,) if isinstance(choice, str) else choice for name, choice in choices.items()}
    names = [*flags, *(f"--{name} {one}" for name, choice in allowed.items() for one in choice if choice != ("k8s",))]

    def holds(values: Values) -> bool:
        chosen = any(values.get(name) in choice for name, choice in allowed.items())
        return chosen or any(values.get(_dest(flag)) for flag in flags)

    way_out = "add it" if len(names) == 1 else "add one"
    return counts_if(action, f"with {' or '.join(names)}", way_out, holds, value=value)


def counts_without(action: argparse.Action, *flags: str) -> argparse.Action:
    """Declares that an option counts only where none of some flags is set."""
    for flag in flags:
        counts_if(action, f"without {flag}", f"leave {flag} out", partial(_lacks, flag))
    return action


def counts_if(
    action: argparse.Action, told: str, way_out: str, holds: Callable[[Values], bool], value: str | None = None
) -> argparse.Action:
    """Declares where an option counts in words of its own; every declaration about an option has to hold."""
    conditions: list[Condition] = getattr(action, "conditions", [])
    action.conditions = [*conditions, Condition(told, way_out, holds, value)]  # type: ignore[attr-defined]
    return action


def complaint(given: Mapping[argparse.Action, Sequence[str]], values: Values) -> str:
    """Returns why one of the options that were typed does not count here; empty if all of them do."""
    for action, words in given.items():
        conditions: list[Condition] = getattr(action, "conditions", [])
        for condition in conditions:
            if condition.value in (None, *words) and not condition.holds(values):
                flag = action.option_strings[0]
                typed = f"{flag}={condition.value}" if condition.value else " ".join([flag, *words])
                return f"{typed} counts only {condition.told}; {condition.way_out}, or leave {flag} out"
    return ""


def _lacks(flag: str, values: Values) -> bool:
    return not values.get(_dest(flag))


def _dest(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")
