"""One thing that was looked at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's outcome; the advice counts where it is not ok."""

    name: str
    ok: bool
    detail: str
    advice: str = ""
