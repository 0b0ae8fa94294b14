r"""One response as any program's file holds it, on its way into an evaluation's folder.

Found(dataset="aime24", question="Every morning Aya ...", golds=("204",), text="... \\boxed{204}", score=1.0)
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from deepscaler.rewards.grade import listed_golds
from deepscaler.system.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A response, and all that its file tells about it."""

    dataset: str
    """As the file calls it."""
    question: str
    """The problem, perhaps within a prompt."""
    golds: tuple[str, ...]
    text: str
    score: float | None = None
    """1 or 0 where the file says of this very response whether it is right."""
    response_tokens: int = 0
    finish_reason: str = "stop"
    told: dict[str, Any] = field(default_factory=dict)
    """Options of an evaluation that the file tells: model, temperature, top_p, max_tokens, seed."""

    def to_json(self) -> dict[str, Any]:
        """Returns the response as a line of the child's answer."""
        return asdict(self)


def golds_of(value: Any) -> tuple[str, ...]:
    """Returns golds as texts. Raises TypeError for what is none."""
    if value is None or isinstance(value, dict):
        raise TypeError("the gold is missing")
    return tuple(str(gold) for gold in listed_golds(value))


def verdict(value: Any) -> float | None:
    """Returns 1 or 0 for a score that says right or wrong (1, true, C, 1.0, -1, ...); None for any other."""
    words = {"C": 1.0, "I": 0.0, True: 1.0, False: 0.0, -1: 0.0}
    return words.get(value) if isinstance(value, str | bool | int | float) else None


def checked(rows: Iterable[tuple[str, Any]], read: Any, where: str, form: str) -> Iterator[Found]:
    """Yields what a function reads from each row. Raises UserError that names the row that has another form."""
    for place, row in rows:
        try:
            yield from read(row)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            why = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:100]
            raise UserError(f"{where}, {place} is no row of {form} ({why}); check --from") from error
