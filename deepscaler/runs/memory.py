"""Follows the memory of a training's nodes by step, with its slope and a forecast of when a node is full.

attempts/0003/memory/node17.jsonl
    {"time": 1795500000.0, "step": 12, "used": 41200000000, "limit": 64000000000, "roles": {"rank": 7100000000, ...}}

The highest sample of each step counts. The first steps are left out, in which memory is taken that stays. A slope is
the median over all pairs of steps (Theil and Sen), which a few odd steps do not move; it counts as growth if the lower
end of its 95% interval, by Kendall's statistic, is above zero.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from deepscaler.runs.folder import Attempt
from deepscaler.runs.memory_samples import FOLDER, NodeSamples, Series
from deepscaler.system.files import in_bytes

WARM_UP = 5
"""Steps of an attempt that are left out: buffers, caches and the first batches of every length."""

FEWEST = 10
"""Steps after these below which nothing is forecast."""

MOST = 200
"""Steps that count, the last ones: the pairs of more take long."""

FULL = 0.95
"""Share of the limit at which Ray kills a worker (`RAY_memory_usage_threshold`); the kernel does a little later."""

Z = 1.96
"""Quantile of a 95% interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMemory:
    """One node of the newest attempt. Bytes; a slope is bytes a step."""

    node: str
    step: int
    used: int
    limit: int
    roles: dict[str, int]
    slope: float | None = None
    """None if there are too few steps, or the growth may be noise."""
    full_step: int | None = None
    """The step at which 95% of the limit will be in use; None without growth."""
    earliest: int | None = None
    """The earliest such step, by the upper end of the slope's interval."""

    def describe(self, num_steps: int) -> str:
        """Returns a line for people: what is in use, how it grows, and when the node is full, if before the end."""
        told = f"{self.node}: {in_bytes(self.used)} of {in_bytes(self.limit)} in use"
        if self.slope is None or self.full_step is None:
            return told
        told += f", {in_bytes(self.slope)} more a step"
        if self.full_step > num_steps:
            return f"{told}: enough until the last step"
        return f"{told}: full at step {self.full_step:,} (not before {self.earliest:,})"


def read_memory(attempt: Attempt) -> list[NodeMemory]:
    """Returns what is known of each node's memory, the one that is full first, first."""
    found = [one for path in sorted((attempt.root / FOLDER).glob("*.jsonl")) if (one := _read_node(path.stem, path))]
    return sorted(found, key=_first_full)


def _first_full(one: NodeMemory) -> tuple[float, int]:
    return one.full_step or math.inf, one.limit - one.used


def _read_node(node: str, path: Path) -> NodeMemory | None:
    """Returns what is known of a node: of its machine and its control group the one that is full first."""
    found = [_forecast(node, series) for series in NodeSamples(path).read_new().series]
    return min(found, key=_first_full, default=None)


def _forecast(node: str, series: Series) -> NodeMemory:
    last = series.last
    told = NodeMemory(node=node, step=last["step"], used=last["used"], limit=last["limit"], roles=last["roles"])
    trend = trend_of(series.peaks)
    # By the lower end: a slope within its noise would have every long run end in a forecast.
    if trend is None or trend.low <= 0:
        return told
    room = FULL * last["limit"] - trend.at(last["step"])
    return replace(
        told,
        slope=trend.slope,
        full_step=last["step"] + max(0, math.floor(room / trend.slope)),
        earliest=last["step"] + max(0, math.floor(room / trend.high)),
    )


@dataclass(frozen=True, slots=True)
class Trend:
    """A robust line through bytes by step, with the ends of its slope's 95% interval."""

    slope: float
    low: float
    high: float
    start: float

    def at(self, step: int) -> float:
        """Returns the line's bytes at a step."""
        return self.start + self.slope * step


def trend_of(peaks: Mapping[int, int]) -> Trend | None:
    """Returns the trend of a node's memory; None before there are steps enough."""
    steps = sorted(peaks)[WARM_UP:-1][-MOST:]  # the step in flight has not seen its peak
    if len(steps) < FEWEST:
        return None
    # Some 20,000 for the 200 steps that count, which takes a hundredth of a second.
    slopes = sorted((peaks[b] - peaks[a]) / (b - a) for a, b in combinations(steps, 2))
    n = len(steps)
    # The deviation of Kendall's statistic without ties: slopes so far from the middle end the interval (Sen 1968).
    half = Z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = slopes[max(0, math.floor((len(slopes) - half) / 2))]
    high = slopes[min(len(slopes) - 1, math.ceil((len(slopes) + half) / 2))]
    slope = statistics.median(slopes)
    return Trend(slope, low, high, statistics.median(peaks[step] - slope * step for step in steps))
