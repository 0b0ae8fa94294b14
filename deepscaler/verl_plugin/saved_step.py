"""Writes down a step's numbers and rollouts before its checkpoint counts, so that no kill can take them.

verl saves a step, sends the weights to the rollout, validates, and only then logs: minutes in which a kill would leave
a checkpoint whose step nobody knows anything about.

attempts/0003/saved.json  {"step": 40, "data": {...}}   as in verl's log, but for what follows the save
rollouts/40.jsonl                                       verl's own file, written earlier
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from verl.trainer.ppo.v1.trainer_base import DAPO_FILTERED_REWARD_COUNTS_KEY, PPOTrainer

from deepscaler.runs.folder import Attempt
from deepscaler.system.files import write_text


@dataclass(frozen=True, slots=True)
class Trained:
    """Holds what verl's loop has of a step from its last update to its line in the log."""

    batch: Any
    metrics: dict[str, Any]
    timing: dict[str, float]
    began: float


_trained: Trained | None = None
_step_of_rollouts = -1
"""Step whose rollouts are written."""


def follow() -> None:
    """Begins to keep what verl's loop has in hands, before the trainer of this process is made."""
    PPOTrainer.step = _keeping(PPOTrainer.step)
    PPOTrainer._log_rollout_data = _once(PPOTrainer._log_rollout_data)


def write_down(trainer: Any, attempt: Attempt) -> None:
    """Writes down the step that verl's trainer has just saved."""
    assert _trained, "verl saves after a step"
    step = trainer.global_steps
    metrics = dict(_trained.metrics)
    metrics.pop(DAPO_FILTERED_REWARD_COUNTS_KEY, None)  # a table, which verl logs elsewhere
    timing = {**_trained.timing, "step": time.monotonic() - _trained.began}
    epoch = (step - 1) // trainer.steps_per_epoch
    # A copy, since verl counts the loads of experts here, and must count each step once.
    counted = trainer._rollout_moe_lb_metrics_accumulator
    trainer._rollout_moe_lb_metrics_accumulator = copy.deepcopy(counted)
    try:
        trainer._compute_metrics(_trained.batch, metrics, timing, global_steps=step, epoch=epoch)
    finally:
        trainer._rollout_moe_lb_metrics_accumulator = counted
    if folder := trainer.config.trainer.get("rollout_data_dir"):
        trainer._log_rollout_data(_trained.batch, {}, folder)
        for writing in trainer._dump_futures:
            writing.result()
    # By the library that verl's log uses: another one would write numpy's float32 with other digits.
    line = orjson.dumps({"step": step, "data": metrics}, option=orjson.OPT_SERIALIZE_NUMPY)
    write_text(attempt.saved_path, f"{line.decode()}\n")


def _keeping(step: Callable[..., Any]) -> Callable[..., Any]:
    """Returns verl's step, which also keeps its batch and numbers."""

    def keeping(trainer: Any, metrics: dict[str, Any], timing_raw: dict[str, float]) -> Any:
        global _trained  # noqa: PLW0603  one trainer a process
        began = time.monotonic()
        batch = step(trainer, metrics, timing_raw)
        _trained = Trained(batch, metrics, timing_raw, began)
        return batch

    return keeping


def _once(log_rollouts: Callable[..., None]) -> Callable[..., None]:
    """Returns verl's writer of rollouts, which does nothing for a step whose file is there: decoding takes seconds."""

    def once(trainer: Any, batch: Any, timing_raw: dict[str, float], folder: str) -> None:
        global _step_of_rollouts  # noqa: PLW0603  one trainer a process
        if trainer.global_steps != _step_of_rollouts:
            log_rollouts(trainer, batch, timing_raw, folder)
            _step_of_rollouts = trainer.global_steps

    return once
