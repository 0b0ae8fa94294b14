"""Notes in verl's trainer which phase it is in: verl's timers begin and end them, our sampler counts what is finished.

verl's modules import `marked_timer` by name, so each module's own name is replaced. verl has no other place that hears
of every phase: its hooks are methods of the trainers, and a trainer of our own would have to follow all of theirs.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from deepscaler.runs.phases import GENERATE, START, STEP, TIMERS, VALIDATE


class Phases:
    """Writes down in which phase this process's trainer is."""

    def __init__(self, resumed_step: int) -> None:
        self._stack: list[tuple[str, float]] = [(START, time.monotonic())]
        self._entered = self._progress = 0
        self._counts: dict[str, int] = {}
        self._step, self._told = resumed_step, ""

    def enter(self, phase: str) -> None:
        """Begins a phase within the one before."""
        if phase == STEP:
            self._step += 1
            self._stack[0] = (STEP, time.monotonic())  # between two steps nothing starts any more
        self._note()
        self._stack.append((phase, time.monotonic()))

    def leave(self) -> None:
        """Ends the innermost phase."""
        self._stack.pop()
        self._note()

    def count(self, partition: str, num_finished: int, told: str) -> None:
        """Takes how much of a batch is finished; what has become less was a batch that is over."""
        if num_finished != self._counts.get(partition):
            self._counts[partition] = num_finished
            self._progress += 1
        self._told = told
        if partition == "val" and self._stack[-1][0] == START:  # before the first step nothing times a validation
            self._stack[0] = (VALIDATE, time.monotonic())
            self._entered += 1

    def moment(self) -> dict[str, Any]:
        """Returns where the trainer is, all but the beat."""
        phase, since = self._stack[-1]
        seconds = round(time.monotonic() - since, 1)
        told = self._told if phase in (GENERATE, VALIDATE) else ""
        return {
            "phase": phase,
            "entered": self._entered,
            "progress": self._progress,
            "step": self._step,
            "seconds": seconds,
            "told": told,
        }

    def _note(self) -> None:
        self._entered += 1
        self._told = ""


current: Phases | None = None
"""Phases of this process; None in processes without a trainer."""


def follow(resumed_step: int) -> None:
    """Begins to note the phases of this process's trainer."""
    global current  # noqa: PLW0603  one trainer a process
    from verl.trainer.ppo.v1 import (  # noqa: PLC0415  the trainer has imported them
        trainer_base,
        trainer_colocate_async,
        trainer_separate_async,
        trainer_sync,
    )

    current = Phases(resumed_step)
    for module in (trainer_base, trainer_sync, trainer_colocate_async, trainer_separate_async):
        module.marked_timer = _noting(module.marked_timer, current)


def _noting(timer: Callable[..., Any], phases: Phases) -> Callable[..., Any]:
    """Returns verl's timer, which also notes the phase that it times."""

    @contextmanager
    def noting(name: str, *arguments: Any, **options: Any) -> Iterator[None]:
        phase = TIMERS.get(name)
        if phase:
            phases.enter(phase)
        try:
            with timer(name, *arguments, **options):
                yield
        finally:
            if phase:
                phases.leave()

    return noting
