"""The one exception that users cause, and the wording all its messages share.

>>> unknown("data set", "amie", ["aime", "amc"])
UserError("unknown data set 'amie' (did you mean 'aime'?); valid: aime, amc")
"""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Bad input. The command line prints its message on one line and exits with 2."""


def unknown(kind: str, given: str, valid: Iterable[str], *, or_else: str = "") -> UserError:
    """Returns the error for a name that is not in a table: what was given, the nearest, what is allowed."""
    names = sorted(valid)
    nearest = get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    return UserError(f"unknown {kind} {given!r}{hint}; valid: {', '.join(names)}{or_else and f', {or_else}'}")
