"""Computes accuracy against a token budget, from samples that were drawn with a larger one.

A response counts at a budget if it is correct and no longer than that. The result is the effect of cutting these
responses; a model that was trained for the smaller budget, or that knows of it, may do better.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepscaler.view.source import VERDICTS, Row
from evaluation.statistics import pass_at_1

MARKS = (1024, 2048, 4096, 8192, 16_384, 24_576, 32_768, 65_536)
"""Budgets in the table, with intervals: common context lengths of trainings."""

NUM_POINTS = 48
CORRECT, UNGRADED = VERDICTS.index("correct"), VERDICTS.index("ungraded")


def budget_of(rows: Sequence[Row], num_sets: int, max_tokens: Any) -> dict[str, Any] | None:
    """Returns the curves and marks of each set in percent; None if no length or no grade is known."""
    graded = [row for row in rows if row.verdict != UNGRADED]
    longest = max((row.length for row in graded), default=0)
    if longest <= 0:
        return None
    # imported samples may lack a limit, or exceed the one that they state
    most = max_tokens if isinstance(max_tokens, int) and max_tokens >= longest else longest
    budgets = sorted({max(1, round(most * point / NUM_POINTS)) for point in range(1, NUM_POINTS + 1)})
    # the last mark cuts no response: its accuracy is that of the report
    marks = [mark for mark in MARKS if mark < most] + [most]
    curves, tables = [], []
    for number in range(num_sets):
        own = [row for row in graded if row.set == number]
        problems: dict[int, list[tuple[bool, int]]] = {}
        for row in own:
            problems.setdefault(row.problem, []).append((row.verdict == CORRECT, row.length))
        groups = list(problems.values())
        curves.append([_share(groups, budget) for budget in budgets] if groups else [])
        tables.append(_marked(groups, own, marks) if groups else [])
    return {"budgets": budgets, "curves": curves, "marks": marks, "tables": tables}


def _share(groups: list[list[tuple[bool, int]]], budget: int) -> float:
    # A mean of means: problems may have different numbers of samples while an evaluation runs.
    return round(100 * float(np.mean([np.mean([ok and length <= budget for ok, length in one]) for one in groups])), 2)


def _marked(groups: list[list[tuple[bool, int]]], rows: list[Row], marks: list[int]) -> list[list[float]]:
    """Returns for each mark the accuracy, both ends of its interval and the share cut, then the number of samples."""
    table = []
    for mark in marks:
        interval = pass_at_1([[ok and length <= mark for ok, length in one] for one in groups])
        # A response that was cut off at exactly this length has not more tokens, and yet is cut.
        cut = sum(row.length > mark or (row.cut_off and row.length >= mark) for row in rows) / len(rows)
        shown = [round(100 * value, 2) for value in (interval.value, interval.low, interval.high, cut)]
        table.append([*shown, len(rows)])
    return table
