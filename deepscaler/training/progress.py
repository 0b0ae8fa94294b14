"""Prints a line per step, and a bar on a terminal, for a person who watches a training."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Show = Callable[[int, dict[str, float]], None]

_COLUMNS = (
    ("reward", "critic/score/mean", "{:.3f}"),
    ("tokens", "response_length/mean", "{:,.0f}"),
    ("cut off", "response_length/clip_ratio", "{:.1%}"),
    ("entropy", "actor/entropy", "{:.3f}"),
    ("s/step", "timing_s/step", "{:,.1f}"),
    ("saved in s", "timing_s/save_checkpoint", "{:,.1f}"),
)


@contextmanager
def show_steps(console: Console, num_steps: int) -> Iterator[Show]:
    """Yields the function to call with each new step and its metrics."""
    # A bar redraws itself with control characters, which make a log unreadable.
    if not console.is_terminal:
        yield lambda step, values: console.print(describe(step, num_steps, values), soft_wrap=True)
        return
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=num_steps)

        def show(step: int, values: dict[str, float]) -> None:
            bar.console.print(describe(step, num_steps, values))
            bar.update(task, completed=step)

        yield show


def describe(step: int, num_steps: int, values: dict[str, float]) -> str:
    """Returns `step 3/8  reward 0.172  tokens 24  ...`; what was not measured in this step is left out."""
    parts = [f"step {step}/{num_steps}"]
    parts += [f"{label} {form.format(values[key])}" for label, key, form in _COLUMNS if _is_number(values.get(key))]
    for key, value in values.items():
        if key.startswith("val-core/") and "/acc/mean@" in key and _is_number(value):
            parts.append(f"{key.split('/')[1]} accuracy {value:.3f}")
    return "  ".join(parts)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
