"""Computes verl's reward, weight x part summed over the recipe's parts, and what verl should log about it.

verl loads it by name (see overrides) and awaits it in its reward workers. What it returns beside `score` becomes a
metric: `val-core/aime/acc/mean@8`, `val-aux/aime/no_box/mean@8`, `val-aux/aime/overlong/mean@8`, ...
"""

import asyncio
import os
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from deepscaler.rewards import grade
from deepscaler.rewards.function import Judgement, UserFunction, split_function
from deepscaler.rewards.grade import Golds, listed_golds
from deepscaler.rewards.parts import format_part, length_part, overlong_part

GRADER_ONLY = {"grader": 1.0}

MOST_TOLD = 20
"""Different failures of a user's function that verl's log gets to see."""


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Golds,
    extra_info: Mapping[str, Any] | None = None,
    *,
    thinking: bool = True,
    parts: Mapping[str, float] = GRADER_ONLY,
    max_tokens: int = 0,
    overlong_buffer: int = 0,
    length_cap: int = 0,
    function: Mapping[str, Any] | None = None,
    **_: Any,
) -> dict[str, float]:
    """Returns the score of one response, which verl passes without the prompt and without special tokens.

    `acc` is the grader's verdict against any of the golds, whatever the parts are; rows without a gold have none.
    `undecided` counts what could not be decided in time; that part scores 0. It should stay at 0.
    """
    extra, parts = dict(extra_info or {}), dict(parts)
    golds = listed_golds(ground_truth)
    # In a thread, because a hard comparison waits for a worker: in the loop it would hold all other responses.
    verdict = await asyncio.to_thread(grade, solution_str, golds, thinking=thinking)
    undecided = verdict.reason in ("timeout", "worker_died")
    num_tokens, max_tokens = int(extra.pop("num_tokens", 0)), int(extra.pop("max_tokens", max_tokens))
    truncated, problem = bool(extra.pop("truncated", False)), str(extra.pop("problem", ""))
    values = {"grader": float(verdict.correct)}
    logged: dict[str, float] = {}
    if "format" in parts:
        values["format"] = format_part(solution_str, thinking=thinking)
    if "overlong" in parts:
        values["overlong"] = overlong_part(num_tokens, max_tokens, overlong_buffer)
    if "length" in parts:
        values["length"] = length_part(num_tokens, length_cap)
    if "function" in parts and function:
        own = _own_function(**function)
        arguments = {
            "response": solution_str,
            "golds": golds,
            "problem": problem,
            "data_source": data_source,
            "id": str(extra.get("id", "")),
            "num_tokens": num_tokens,
            "max_tokens": max_tokens,
            "truncated": truncated,
            "correct": verdict.correct,
            "extra": {name: value for name, value in extra.items() if isinstance(value, str | int | float | bool)},
        }
        judgement = await own.judge(arguments)
        values["function"] = judgement.score
        logged = {f"function_{name}": value for name, value in judgement.more.items()}
        logged["function_undecided"] = float(bool(judgement.failure))
        undecided = undecided or bool(judgement.failure)
    return {
        "score": sum(weight * values[name] for name, weight in parts.items()),
        # verl's filter of groups ends the training at a response without its metric: graded recipes always have it.
        **({"acc": float(verdict.correct)} if golds or parts.get("grader") else {}),
        "no_box": float(verdict.reason == "no_box"),
        "no_think_end": float(verdict.reason == "no_think_end"),
        "undecided": float(undecided),
        **({name: values[name] for name in parts} if parts != GRADER_ONLY else {}),
        **logged,
    }


@dataclass
class _OwnFunction:
    """A user's function with threads of its own: calls that hang must not hold those of the grader or of verl."""

    function: UserFunction
    threads: ThreadPoolExecutor
    told: set[str] = field(default_factory=set)

    async def judge(self, arguments: dict[str, Any]) -> Judgement:
        """Awaits what the function says; each kind of failure is said once."""
        loop = asyncio.get_running_loop()
        judgement = await loop.run_in_executor(self.threads, partial(self.function.judge, arguments))
        if judgement.failure and judgement.failure not in self.told and len(self.told) < MOST_TOLD:
            self.told.add(judgement.failure)
            print(f"reward.function: {judgement.failure}; undecided responses score 0", flush=True)
        return judgement


@cache
def _own_function(file: str, timeout: float, memory: float, num_workers: int) -> _OwnFunction:
    path, name = split_function(file)
    log = None
    if root := os.environ.get("DEEPSCALER_RUN_DIR"):
        log = Path(root, "reward", "logs", f"{socket.gethostname()}-{os.getpid()}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
    function = UserFunction(path, name, timeout=timeout, memory=memory, num_workers=num_workers, log=log)
    # As many threads as workers: asyncio's default pool is shared with the grader and with verl's decoding.
    return _OwnFunction(function, ThreadPoolExecutor(num_workers, "reward"))
