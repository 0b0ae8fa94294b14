r"""Finds the problem behind a prompt that verl wrote down: of a rollout it keeps the rendered text and the golds alone.

rollouts/13.jsonl      {"input": "system\n...\nuser\nWhat is 9 - 2?\nassistant\n", "gts": ["7"], ...}
data/train.parquet     prompt [..., {"role": "user", "content": "What is 9 - 2?"}], data_source, ground_truth ["7"]
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepscaler.rewards.grade import listed_golds

COLUMNS = ["data_source", "prompt", "reward_model", "extra_info"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One problem of a run's data."""

    dataset: str
    id: str
    question: str
    """The last message of the prompt."""


class Prompts:
    """The problems of a run, by their golds and their question."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._by_golds: dict[tuple[str, ...], list[Asked]] = {}
        self.num_problems: dict[str, int] = {}
        """By data set."""
        for row in (row for path in files for row in _rows(path)):
            asked = Asked(row["dataset"], row["id"], row["question"])
            self._by_golds.setdefault(row["golds"], []).append(asked)
            self.num_problems[asked.dataset] = self.num_problems.get(asked.dataset, 0) + 1

    def find(self, prompt: str, golds: Any) -> Asked | None:
        """Returns the problem whose question the prompt holds last; None if the data does not know it."""
        candidates = self._by_golds.get(golds_of(golds), [])
        # A question may be part of another, and few-shot examples are problems, too: the last and longest is asked.
        found = [(prompt.rfind(one.question), len(one.question), place) for place, one in enumerate(candidates)]
        best = max((place for place in found if place[0] >= 0), default=None)
        return candidates[best[2]] if best else None


def golds_of(golds: Any) -> tuple[str, ...]:
    """Returns golds as verl's files have them, a list or one value, as texts."""
    return tuple(listed_golds(golds)) if isinstance(golds, list | str | int | float) else ()


def _rows(path: Path) -> list[dict[str, Any]]:
    """Returns the problems in a parquet file of verl's form; none where it is missing or has another form."""
    try:
        stamp = path.stat()
        # The time is part of the key, because a folder of the same name may hold other data a moment later.
        return list(_read(path, stamp.st_mtime_ns))
    except (OSError, pa.ArrowException, KeyError, TypeError, IndexError, AttributeError):
        return []


@lru_cache(maxsize=8)
def _read(path: Path, _stamp: int) -> tuple[dict[str, Any], ...]:
    rows = pq.read_table(path, columns=COLUMNS).to_pylist()
    return tuple(
        {
            "dataset": str(row["data_source"]),
            "id": str((row["extra_info"] or {}).get("id", "")),
            "question": str(row["prompt"][-1]["content"]),
            "golds": golds_of(row["reward_model"]["ground_truth"]),
        }
        for row in rows
    )
