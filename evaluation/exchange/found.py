r"""Holds one response from any program's file, on its way into an evaluation's folder.

Found(dataset="aime24", question="Every morning Aya ...", golds=("204",), text="... \\boxed{204}", score=1.0)
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from deepscaler.rewards.grade import listed_golds
from deepscaler.system.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Holds a response and all that its file says about it."""

    dataset: str
    """The data set's name in the file."""
    question: str
    """The problem, possibly within a prompt."""
    golds: tuple[str, ...]
    text: str
    score: float | None = None
    """1 or 0 if the file says whether this response is right; None if it does not."""
    response_tokens: int = 0
    finish_reason: str = "stop"
    told: dict[str, Any] = field(default_factory=dict)
    """Options of an evaluation that the file gives: model, temperature, top_p, max_tokens, seed."""

    def to_json(self) -> dict[str, Any]:
        """Returns the response as the child sends it, ready for JSON."""
        return asdict(self)


def golds_of(value: Any) -> tuple[str, ...]:
    """Returns golds as texts. Raises TypeError for a value that is not a gold."""
    if value is None or isinstance(value, dict):
        raise TypeError("the gold is missing")
    return tuple(str(gold) for gold in listed_golds(value))


def verdict(value: Any) -> float | None:
    """Returns 1 or 0 for a score that says right or wrong (1, true, C, 1.0, -1, ...); None for any other."""
    # As keys True equals 1 and 1.0, and False equals 0 and 0.0; C and I are inspect's.
    words = {"C": 1.0, "I": 0.0, True: 1.0, False: 0.0, -1: 0.0}
    return words.get(value) if isinstance(value, str | bool | int | float) else None


def checked(rows: Iterable[tuple[str, Any]], read: Any, where: str, form: str) -> Iterator[Found]:
    """Yields the responses that `read` finds in each row. Raises UserError naming a row of another format."""
    for place, row in rows:
        try:
            yield from read(row)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            why = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:100]
            raise UserError(f"{where}, {place} is not a row of {form} ({why}); check --from") from error
