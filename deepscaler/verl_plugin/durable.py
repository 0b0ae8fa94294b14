"""Has verl write what a step leaves before the step can count, and under the run's own number of the step.

verl saves a step, sends the weights to the rollout, validates, and only then logs: minutes in which a kill would leave
a checkpoint whose step nobody knows anything about. Where verl counts from 0 again, it would overwrite the samples of
the run's first steps. verl has no hook at these places, so methods of its trainer are wrapped.

attempts/0003/saved.json  {"step": 40, "data": {...}}   as in verl's log, but for what follows the save
rollouts/40.jsonl                                       verl's own file, written earlier
validation/40.jsonl                                     on the disk before its numbers are logged
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from verl.trainer.ppo.v1.trainer_base import DAPO_FILTERED_REWARD_COUNTS_KEY, PPOTrainer

from deepscaler.runs.fence import check_ownership
from deepscaler.runs.folder import Attempt, RunFolder
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
"""Step whose rollouts are written, by verl's count."""


def follow(run: RunFolder, attempt: Attempt, step_offset: int) -> None:
    """Wraps verl's trainer, before the one of this process is made; its saves raise FencedError."""
    PPOTrainer.step = _keeping(PPOTrainer.step)
    PPOTrainer._save_checkpoint = _writing_first(PPOTrainer._save_checkpoint, run, attempt)
    PPOTrainer._log_rollout_data = _once(PPOTrainer._log_rollout_data)
    PPOTrainer._validate = _waiting(PPOTrainer._validate)
    PPOTrainer._write_generations = staticmethod(_numbered(PPOTrainer._write_generations, step_offset))


def _keeping(step: Callable[..., Any]) -> Callable[..., Any]:
    """Returns verl's step, which also keeps its batch and numbers."""

    def keeping(trainer: Any, metrics: dict[str, Any], timing_raw: dict[str, float]) -> Any:
        global _trained  # noqa: PLW0603  one trainer a process
        began = time.monotonic()
        batch = step(trainer, metrics, timing_raw)
        _trained = Trained(batch, metrics, timing_raw, began)
        return batch

    return keeping


def _writing_first(save: Callable[..., None], run: RunFolder, attempt: Attempt) -> Callable[..., None]:
    """Returns verl's save, which writes the step down first: a save that is complete counts, whatever follows it."""

    def writing_first(trainer: Any) -> None:
        check_ownership(run, attempt)  # the rollouts are the run's
        _write_down(trainer, attempt)
        save(trainer)

    return writing_first


def _write_down(trainer: Any, attempt: Attempt) -> None:
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
        _wait_for_files(trainer)
    # By the library that verl's log uses: another one would write numpy's float32 with other digits.
    line = orjson.dumps({"step": step, "data": metrics}, option=orjson.OPT_SERIALIZE_NUMPY)
    write_text(attempt.saved_path, f"{line.decode()}\n")


def _once(log_rollouts: Callable[..., None]) -> Callable[..., None]:
    """Returns verl's writer of rollouts, which does nothing for a step whose file is there: decoding takes seconds."""

    def once(trainer: Any, batch: Any, timing_raw: dict[str, float], folder: str) -> None:
        global _step_of_rollouts  # noqa: PLW0603  one trainer a process
        if trainer.global_steps != _step_of_rollouts:
            log_rollouts(trainer, batch, timing_raw, folder)
            _step_of_rollouts = trainer.global_steps

    return once


def _waiting(validate: Callable[..., dict[str, float]]) -> Callable[..., dict[str, float]]:
    """Returns verl's validation, which also waits for its file: what is logged is never validated again."""

    def waiting(trainer: Any) -> dict[str, float]:
        measured = validate(trainer)
        _wait_for_files(trainer)
        return measured

    return waiting


def _wait_for_files(trainer: Any) -> None:
    """Waits until verl's thread has written all samples that it was given."""
    for writing in trainer._dump_futures:
        writing.result()


def _numbered(write: Callable[..., None], step_offset: int) -> Callable[..., None]:
    """Returns verl's writer of samples, whose last argument is the step, with the run's number of it."""

    def numbered(*arguments: Any) -> None:
        *others, step = arguments
        write(*others, step_offset + step)

    return numbered
