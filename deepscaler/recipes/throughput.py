"""Computes how much longer a GPU takes than the model of a step says, from the measurements in throughput.json.

slowness("H100-80GB", 1)    Spread(1.13, 1.2, 1.3)     so many times as long as step_time says: measured
slowness("A100-80GB", 32)   Spread(0.78, 1.9, 4.0)     derived: nobody measured an A100, or several GPUs, for this kit

throughput.json has a row for each phase that was `measured` on one GPU (MEASURED_ON says of what; `alone` without a
trainer around it) and for each `published` training: its GPU-hours, and how many times what step_time makes of the same
work with the software of today (bench/published_hours.py), whatever else went into the published figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from deepscaler.recipes.cards import CARDS, Software, card_named
from deepscaler.recipes.model_shape import shape_of
from deepscaler.recipes.published import RECIPES
from deepscaler.recipes.response_lengths import Lengths
from deepscaler.recipes.step_time import step_time
from deepscaler.system.errors import UserError, unknown
from deepscaler.system.files import read_json

TABLE = Path(__file__).with_name("throughput.json")

MEASURED_ON = replace(
    RECIPES["8k"],
    gpus_per_node=1,
    max_prompt_length=512,
    max_response_length=4096,
    train_batch_size=8,
    mini_batch_size=8,
    max_tokens_per_gpu=16_384,
    gpu_memory_utilization=0.5,
    save_every=1000,
    validate_every=1000,
)
"""The recipe that bench/gpu.py trains: the work behind every measured row."""

WHOLE = Lengths(mean=4096, cut_off=1, limit=4096, prompt=100)
"""Responses to that recipe: those of random weights, which never end by themselves."""

DERIVED = (0.8, 1.5)
"""Assumed range of a card that nobody measured, as multiples of the least and the most of measured cards."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure with its plausible minimum and maximum."""

    low: float
    middle: float
    high: float

    def __mul__(self, factor: float) -> "Spread":
        """Returns all three, so many times as large."""
        return Spread(self.low * factor, self.middle * factor, self.high * factor)

    def __add__(self, other: "Spread") -> "Spread":
        """Returns the sum of figures that may all be low, or all be high, for the same reason."""
        return Spread(self.low + other.low, self.middle + other.middle, self.high + other.high)


def sum_of(spreads: Sequence[Spread]) -> Spread:
    """Returns the sum of spreads; zeros for none."""
    return sum(spreads, start=Spread(0.0, 0.0, 0.0))


@dataclass(frozen=True, slots=True)
class Slowness:
    """Factor by which a step takes longer than its model says, and the source of that."""

    times: Spread
    told: str


def card_name(given: str) -> str:
    """Returns the kind of GPU that a short name means: `a100-80` is A100-80GB, `h100` H100-80GB. Raises UserError."""
    matching = [name for name in CARDS if _plain(name).startswith(_plain(given))]
    if len(matching) != 1 or not given:
        raise unknown("GPU", given, matching or [name.removesuffix("GB").lower() for name in CARDS])
    return matching[0]


@cache
def slowness(gpu: str, num_gpus: int) -> Slowness:
    """Returns how far a kind of GPU may be from the model. Raises UserError for an unknown one."""
    card_named(gpu)
    measured = _measured()
    rows = measured.get(gpu) or [one for rows in measured.values() for one in rows]
    low, middle, high = min(rows), _mean(rows), max(rows)
    source = f"{gpu}: measured on one GPU"
    if gpu not in measured:
        low, high = low * DERIVED[0], high * DERIVED[1]
        source = f"{gpu}: not measured, derived from {' and '.join(sorted(measured))} by data sheets"
    if num_gpus == 1:
        return Slowness(Spread(low, middle, high), source)
    published = [float(row["times_the_model"]) for row in _rows("published")]
    told = (
        f"{source}; several GPUs were not measured: published trainings took {min(published):g} to {max(published):g}"
        " times what one GPU's speed comes to, which is the upper end"
    )
    # Published trainings include restarts and old software, so they are the upper end and not the middle.
    return Slowness(Spread(low, _mean([middle, _mean(published)]), max(high, *published)), told)


@cache
def _measured() -> dict[str, list[float]]:
    """Returns, by kind of GPU, how many times as long as predicted each measured phase took."""
    shape, overhead = shape_of(MEASURED_ON.model), Software().one_pass
    found: dict[str, list[float]] = {}
    for row in _rows("measured"):
        predicted = step_time(MEASURED_ON, shape, row["gpu"], "none", WHOLE)
        responses = 64 * WHOLE.mean
        tokens = responses if row["phase"] == "generate" else predicted.tokens
        # A row that was measured without a trainer lacks what a pass costs beside its computation.
        seconds = tokens / row["tokens_per_second"] + (overhead if row.get("alone") else 0.0)
        found.setdefault(row["gpu"], []).append(seconds / getattr(predicted, row["phase"]))
    return found


def _rows(kind: str) -> list[dict[str, Any]]:
    rows = read_json(TABLE).get(kind)
    if not isinstance(rows, list):
        raise UserError(f"{TABLE} has no list {kind!r}: install the kit again")
    return rows


def _mean(factors: list[float]) -> float:
    """Returns the geometric mean: twice and half as long are equally far off."""
    return prod(factors) ** (1 / len(factors))


def _plain(name: str) -> str:
    return name.upper().replace("-", "").replace(" ", "")
