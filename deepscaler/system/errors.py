"""Defines the one exception that users cause, and the wording of its messages; distinguishes a file system's faults.

>>> unknown("data set", "amie", ["aime", "amc"])
UserError("unknown data set 'amie' (did you mean 'aime'?); valid: aime, amc")
"""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Signals a user's mistake. The command line prints its message on one line and exits with code 2."""


def file_system_error(error: Exception) -> OSError | None:
    """Returns the file system's own error behind one; None if the fault is in what a file holds."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return cause if isinstance(cause, OSError) else None


def unknown(kind: str, given: str, valid: Iterable[str], *, or_else: str = "") -> UserError:
    """Returns the error for an unknown name: the name given, the nearest valid one, and all valid ones."""
    names = sorted(valid)
    nearest = get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    return UserError(f"unknown {kind} {given!r}{hint}; valid: {', '.join(names)}{or_else and f', {or_else}'}")
