"""Reads which problems each step of a run trained on; the trainer writes a line when a step takes its batch.

attempts/0003/prompts.jsonl
{"step": 412, "prompts": ["deepscaler/17", ...], "discarded": ["deepscaler/5"], "lost": 0}

The line of a step that was never saved counts no more once a later attempt has resumed before it.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.system.errors import UserError
from deepscaler.system.lines import whole_lines

FILE = "prompts.jsonl"


@dataclass(frozen=True, slots=True)
class Batch:
    """The problems of one step, by their ids."""

    prompts: tuple[str, ...]
    """Problems trained on, in the order of the batch."""
    discarded: tuple[str, ...] = ()
    """Problems drawn and thrown away: without variance, too many, or too old."""
    lost: int = 0
    """Groups without a single response, because every one of its agent loops failed."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Problems that the steps of a run were trained on."""

    batches: Mapping[int, Batch]
    """Batches by the run's step, those in flight included."""
    redone: Mapping[int, int] = field(default_factory=dict)
    """Number of times that a step was begun by an attempt that ended before it was saved."""

    def again(self, epochs: Mapping[int, float], copies: Mapping[str, int]) -> dict[str, int]:
        """Returns the problems that an epoch had more often than the data has them, and how much too often.

        `epochs` holds the epoch of each step, `copies` how often the data has a problem.
        """
        found: Counter[str] = Counter()
        for epoch in set(epochs.values()):
            asked = Counter(
                one for step, batch in self.batches.items() if epochs.get(step) == epoch for one in batch.prompts
            )
            found.update({one: count - copies[one] for one, count in asked.items() if 0 < copies.get(one, 0) < count})
        return dict(found)

    def missing(self, last_step: int) -> list[int]:
        """Returns the steps, up to one, of which it is not known what they were trained on."""
        return [step for step in range(1, last_step + 1) if step not in self.batches]


def write_batch(attempt: Attempt, step: int, batch: Batch) -> None:
    """Appends a step's line: in one write, so that a kill leaves it whole, torn, or not there."""
    entry = {"step": step, "prompts": batch.prompts, "discarded": batch.discarded, "lost": batch.lost}
    line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
    # Not open(), which may split a long line over several writes: a kill between them would leave half of it.
    file = os.open(attempt.root / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def read_ledger(run: RunFolder) -> Ledger:
    """Returns the ledgers of all attempts in one. Raises UserError for a line, but the last, that is none of ours."""
    batches: dict[int, Batch] = {}
    redone: Counter[int] = Counter()
    for attempt in run.attempts():
        resumed = attempt.read_record().get("resumed_step")
        if resumed is not None:
            # In this order: the steps that a later attempt makes again are counted before they are forgotten.
            redone.update(step for step in batches if step > resumed)
            batches = {step: batch for step, batch in batches.items() if step <= resumed}
        batches.update(_read(attempt))
    return Ledger(batches, dict(redone))


def _read(attempt: Attempt) -> Iterable[tuple[int, Batch]]:
    path = attempt.root / FILE
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            entry = json.loads(line)
            step, lost = int(entry["step"]), int(entry["lost"])
            batch = Batch(tuple(map(str, entry["prompts"])), tuple(map(str, entry["discarded"])), lost)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(f"line {number} of {path} is not a step of a run: {error!r}; move the file away") from error
        yield step, batch
