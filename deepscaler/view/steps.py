"""Builds the table of a training's steps: groups, reward and its parts, lengths, groups without variance."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from deepscaler.rewards.parts import PARTS
from deepscaler.runs.metrics import QUANTITIES
from deepscaler.view.source import VERDICTS, Row
from evaluation.statistics import pass_at_1

LOGGED = {
    **{f"{part} part": QUANTITIES[f"{part}_part"].key for part in PARTS},
    "mean tokens": QUANTITIES["response_length"].key,
    "cut off %": QUANTITIES["cut_off"].key,
}
"""Columns from verl's own log of the step, because its files of rollouts hold no token counts and no parts."""

CORRECT = VERDICTS.index("correct")


def step_table(
    sets: Sequence[dict[str, Any]], rows: Sequence[Row], metrics: Mapping[int, Mapping[str, float]]
) -> dict[str, Any]:
    """Returns the `names` of columns, `rows` of numbers per set, and `intervals` of validation accuracies.

    An unknown number is None. The argument `rows` must be sorted by set and problem. A group is the responses to one
    prompt in one step.
    """
    found: list[list[Any]] = [[None] * 6 for _ in sets]
    intervals: list[list[float] | None] = [None] * len(sets)
    # groupby joins neighbors only: `rows` are sorted by set
    for number, own in groupby(rows, key=lambda row: row.set):
        responses = list(own)
        found[number] = _measured(responses)
        intervals[number] = _interval(responses) if sets[number]["kind"] == "validation" else None
    names = ["groups", "responses", "mean reward", "deviation", "correct %", "one reward %"]
    for name, key in LOGGED.items():
        column = [metrics.get(place, {}).get(key) for place, one in enumerate(sets) if one["kind"] == "rollouts"]
        if not any(value is not None for value in column):
            continue
        names.append(name)
        for place, one in enumerate(sets):
            value = metrics.get(place, {}).get(key) if one["kind"] == "rollouts" else None
            found[place].append(None if value is None else _shown(100 * value if name.endswith("%") else value))
    return {"names": names, "rows": found, "intervals": intervals}


def _measured(rows: list[Row]) -> list[Any]:
    groups = [[row.reward for row in group] for _, group in groupby(rows, key=lambda row: row.problem)]
    # NaN is a reward that is not known
    rewards = [row.reward for row in rows if not math.isnan(row.reward)]
    # A group of one has no variance by itself, and says nothing about the problem.
    same = [len(set(group)) == 1 for group in groups if len(group) > 1]
    graded = [row.verdict == CORRECT for row in rows if VERDICTS[row.verdict] != "ungraded"]
    return [
        len(groups),
        len(rows),
        _shown(float(np.mean(rewards))) if rewards else None,
        _shown(float(np.std(rewards))) if rewards else None,
        _shown(100 * float(np.mean(graded))) if graded else None,
        _shown(100 * float(np.mean(same))) if same else None,
    ]


def _interval(rows: list[Row]) -> list[float] | None:
    """Returns the 95 % interval of the accuracy in percent, clustered by problem."""
    graded = [row for row in rows if VERDICTS[row.verdict] != "ungraded"]
    outcomes = [[row.verdict == CORRECT for row in group] for _, group in groupby(graded, key=lambda row: row.problem)]
    if not outcomes:
        return None
    interval = pass_at_1(outcomes)
    return [_shown(100 * interval.low), _shown(100 * interval.high)]


def _shown(value: float) -> float:
    return round(value, 4)
