"""Defines the one exception that users cause, and the wording that its messages share.

>>> unknown("data set", "amie", ["aime", "amc"])
UserError("unknown data set 'amie' (did you mean 'aime'?); valid: aime, amc")
"""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Signals a user's mistake. The command line prints its message on one line and exits with code 2."""


def unknown(kind: str, given: str, valid: Iterable[str], *, or_else: str = "") -> UserError:
    """Returns the error for an unknown name: the name given, the nearest valid one, and all valid ones."""
    names = sorted(valid)
    nearest = get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    return UserError(f"unknown {kind} {given!r}{hint}; valid: {', '.join(names)}{or_else and f', {or_else}'}")
