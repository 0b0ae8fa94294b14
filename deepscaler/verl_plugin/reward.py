"""The grader as verl's reward function: 1 for a correct response, else 0, and what else verl should log about it.

verl loads it by name (see overrides) and awaits it in its reward workers. What it returns beside `score` becomes a
metric: `val-core/aime/acc/mean@8`, `val-aux/aime/no_box/mean@8`, ...
"""

import asyncio
from typing import Any

from deepscaler.rewards import grade
from deepscaler.rewards.grade import Golds


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Golds,
    extra_info: dict[str, Any] | None = None,
    *,
    thinking: bool = True,
    **_: Any,
) -> dict[str, float]:
    """Grade one response (verl passes it without the prompt and without special tokens) against any of its golds.

    `undecided` counts what could not be compared in time; it scores 0, and should stay at 0.
    """
    verdict = await asyncio.to_thread(grade, solution_str, ground_truth, thinking=thinking)
    return {
        "score": float(verdict.correct),
        "acc": float(verdict.correct),
        "no_box": float(verdict.reason == "no_box"),
        "no_think_end": float(verdict.reason == "no_think_end"),
        "undecided": float(verdict.reason in ("timeout", "worker_died")),
    }
