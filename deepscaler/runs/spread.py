"""Computes how sure a training's numbers are: intervals of validations, and what chance does to mean rewards.

verl logs means alone. The samples behind them are in the run's validation/ and rollouts/.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepscaler.output.cells import Interval
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import Metrics, quantity, validation
from deepscaler.runs.prompts import Asked, Prompts, golds_of
from deepscaler.runs.stages import Stage
from evaluation.statistics import interval_of_share, pass_at_1, t_quantile

MAX_FILES = 40
"""Files of rollouts, and of validations, that are read a run, evenly over its steps: each may hold 10 MB."""

TOLERANCE = 1e-3
"""Amount by which the mean of a file's samples may differ from what verl logged.

The number in a file's name is verl's: in a run that was resumed from a merged model it may be that of another step.
"""

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def with_spread(stage: Stage) -> Stage:
    """Returns the stage with its intervals, read from the samples that its run keeps."""
    intervals, is_measured = validation_intervals(stage.run, stage.metrics)
    steps = [step for step, _ in quantity(stage.metrics, "reward")]
    return replace(
        stage,
        validation_intervals=intervals,
        reward_half_widths=reward_half_widths(stage.run, steps),
        is_measured=is_measured,
    )


def validation_intervals(run: RunFolder, metrics: Metrics) -> tuple[dict[str, dict[int, Interval]], bool]:
    """Returns the intervals of validations by data set and step, and whether all come from their samples.

    Where a validation's samples are not there, or are not those that verl logged, each problem counts as if it had been
    asked once; where not even the number of problems is known, there is no interval.
    """
    # The run's own copy: the set that it was made from may have changed since.
    prompts = Prompts([run.root / "data" / "validation.parquet"])
    logged = validation(metrics)
    steps = _evenly(sorted({step for points in logged.values() for step, _ in points}))
    measured = {step: _by_dataset(run.root / "validation" / f"{step}.jsonl", prompts) for step in steps}
    found: dict[str, dict[int, Interval]] = {}
    all_measured = True
    for dataset, points in logged.items():
        for step, share in points:
            # With a single data set every sample is of it, also where the data no longer shows which problem was asked.
            interval = measured.get(step, {}).get(dataset if len(logged) > 1 else None)
            if interval is None or abs(interval.value - share) > TOLERANCE:
                num_problems = prompts.num_problems.get(dataset, 0)
                interval = interval_of_share(share, num_problems) if num_problems and 0 <= share <= 1 else None
                all_measured = all_measured and interval is None
            if interval:
                found.setdefault(dataset, {})[step] = interval
    return found, all_measured


def reward_half_widths(run: RunFolder, steps: Iterable[int]) -> dict[int, float]:
    """Returns half the 95 % interval of a batch's mean reward by step, with the group as the unit.

    The responses to one prompt are alike, so that a batch of 128 groups of 8 counts as 128 draws.
    """
    found = {}
    for step in _evenly(sorted(steps)):
        groups: dict[str, list[float]] = {}
        for line in _lines(run.root / "rollouts" / f"{step}.jsonl"):
            # verl's keys are `{prompt}_{session}_{output}`: what comes before the first _ is the group.
            groups.setdefault(str(line.get("uid", "")).partition("_")[0], []).append(_reward(line))
        means = [np.mean(group) for group in groups.values()]
        # A torn or foreign line gives NaN, and an interval of what is left would be too narrow without showing it.
        if len(means) > 1 and np.isfinite(means).all():
            found[step] = t_quantile(len(means) - 1) * float(np.std(means, ddof=1)) / math.sqrt(len(means))
    return found


def _by_dataset(path: Path, prompts: Prompts) -> dict[str | None, Interval]:
    """Returns the accuracy of each data set in a file of validation, and under None that of all together."""
    by_problem: dict[tuple[str | None, str], list[bool]] = {}
    asked: dict[tuple[str, tuple[str, ...]], Asked | None] = {}
    for line in _lines(path):
        prompt, golds, correct = line.get("input"), golds_of(line.get("gts")), line.get("acc")
        if not isinstance(prompt, str) or correct not in (0, 1):
            continue
        key = (prompt, golds)
        if key not in asked:
            asked[key] = prompts.find(prompt, list(golds))
        dataset = asked[key].dataset if asked[key] else None  # type: ignore[union-attr]
        for name in {None, dataset}:
            by_problem.setdefault((name, f"{prompt}\n{golds}"), []).append(correct == 1)
    outcomes: dict[str | None, list[list[bool]]] = {}
    for (name, _), samples in by_problem.items():
        outcomes.setdefault(name, []).append(samples)
    return {name: pass_at_1(groups) for name, groups in outcomes.items()}


def _lines(path: Path) -> Iterator[dict[str, object]]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        for text in file:
            try:
                line = json.loads(text)
            except UNREADABLE:  # torn by a kill
                continue
            if isinstance(line, dict):
                yield line


def _reward(line: dict[str, object]) -> float:
    value = line.get("score")
    return float(value) if isinstance(value, int | float) else math.nan


def _evenly(steps: list[int]) -> list[int]:
    """Returns at most MAX_FILES of some steps, the first and the last among them."""
    if len(steps) <= MAX_FILES:
        return steps
    return [steps[round(place)] for place in np.linspace(0, len(steps) - 1, MAX_FILES)]
