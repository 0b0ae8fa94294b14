"""One training run from wherever its folder stands: `python -m verl.trainer.main_ppo` started, watched and stopped."""

import signal
import time
from collections import deque
from contextlib import suppress
from functools import partial
from subprocess import Popen

from rich.console import Console

from deepscaler.models.provenance import command_line
from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.checkpoints import adopt_leftovers, newest, sealed
from deepscaler.runs.fence import FencedError, acquire, alive, check_ownership, identity
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.runs.metrics import LiveMetrics
from deepscaler.system import processes
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_json
from deepscaler.system.signals import stop_signals
from deepscaler.training.deadline import must_stop
from deepscaler.training.launch import Launch, prepare_launch
from deepscaler.training.manifest import TrainOptions, check_inputs
from deepscaler.training.progress import show_steps

EXIT_FAILED = 1
EXIT_STOPPED = 143
POLL = 0.5
"""Seconds between two looks at the trainer."""

FENCE_INTERVAL = 2.0
"""Seconds between two looks for a newer attempt."""

PATIENCE = 30.0
"""Seconds for Ray to end after the trainer did, or was told to."""

IGNORED_IN_A_JOB = (signal.SIGTERM, signal.SIGUSR2)
"""Verl's process in a job of SLURM or Ray, which signal all processes: it is to finish its step."""

SHOWN_LINES = 25
"""Of the log, where the trainer failed."""


def train(recipe: Recipe, options: TrainOptions, console: Console) -> int:
    """Train until the recipe's last step. Returns 0 at the end, 143 if stopped before, 1 if the trainer failed."""
    run = RunFolder(options.run_dir.resolve())
    say = partial(console.print, soft_wrap=True)
    with stop_signals() as stop_wishes:
        inputs = check_inputs(run, recipe, options)
        if _reached(run) >= recipe.num_steps:
            console.print(f"Finished before: step {_reached(run)} of {recipe.num_steps}.")
            return 0
        attempt = acquire(run, say)
        write_json(run.manifest_path, inputs.manifest)
        attempt.update_record(**identity(), started=now(), command=command_line())
        outcome = "failed"
        try:
            with alive(attempt):
                adopt_leftovers(run, say)
                checkpoint = newest(run, say)
                launch = prepare_launch(run, attempt, recipe, inputs, options, checkpoint, console)
                outcome = _supervise(run, attempt, recipe, launch, options, stop_wishes, console)
        except FencedError as error:
            outcome = "fenced"
            raise UserError(f"{error}; this attempt has written nothing since") from error
        finally:
            attempt.update_record(ended=now(), outcome=outcome, step=_reached(run))
        return _say_end(run, attempt, recipe, outcome, console)


def _supervise(
    run: RunFolder,
    attempt: Attempt,
    recipe: Recipe,
    launch: Launch,
    options: TrainOptions,
    stop_wishes: "deque[str]",
    console: Console,
) -> str:
    """Start the trainer and see it to its end. Returns which that is. Raises FencedError."""
    ignored = () if launch.ray_dir else IGNORED_IN_A_JOB
    process = processes.start(
        launch.command, log=attempt.log_path, environment=launch.environment, ignored_signals=ignored
    )
    console.print(f"Attempt {attempt.number}: verl is starting; its output goes to {attempt.log_path}", soft_wrap=True)
    try:
        _watch(run, attempt, recipe, options, stop_wishes, process, console)
    finally:
        processes.end(process, PATIENCE)
        launch.clean_up()
    if _reached(run) >= recipe.num_steps:
        return "finished"
    return "stopped" if attempt.stop_path.exists() else "failed"


def _watch(
    run: RunFolder,
    attempt: Attempt,
    recipe: Recipe,
    options: TrainOptions,
    stop_wishes: "deque[str]",
    process: "Popen[bytes]",
    console: Console,
) -> None:
    """Until the trainer ends: show steps, pass on wishes to stop, mind the deadline and the fence."""
    metrics = LiveMetrics(run, attempt)
    looked_at_fence = 0.0
    told = False
    with show_steps(console, recipe.num_steps) as show:
        while process.poll() is None:
            for step, values in metrics.read_new():
                show(step, values)
            if time.monotonic() - looked_at_fence > FENCE_INTERVAL:
                check_ownership(run, attempt)
                looked_at_fence = time.monotonic()
            wish = stop_wishes[0] if stop_wishes else _asked(attempt) or _deadline_wish(options, metrics)
            if wish and not told:
                told = True
                if not attempt.stop_path.exists():
                    attempt.stop_path.write_text(wish, encoding="utf-8")
                console.print(_stopping(wish, metrics), soft_wrap=True)
            if (wish and not metrics.has_begun) or len(stop_wishes) > 1:
                processes.end(process, PATIENCE)
            time.sleep(POLL)
        for step, values in metrics.read_new():
            show(step, values)


def _asked(attempt: Attempt) -> str:
    """Why another process asks this attempt to stop."""
    with suppress(OSError):
        return " ".join(attempt.stop_path.read_text(encoding="utf-8").split()) or "asked to"
    return ""


def _deadline_wish(options: TrainOptions, metrics: LiveMetrics) -> str:
    if options.deadline is None:
        return ""
    left = options.deadline - time.time()
    if must_stop(left, metrics.seconds_in_step, metrics.recent_step_seconds, metrics.save_seconds):
        return f"{max(0, left):.0f} s are left"
    return ""


def _stopping(wish: str, metrics: LiveMetrics) -> str:
    if not metrics.has_begun:
        return f"Stopping ({wish}): no step is in flight."
    return f"Stopping ({wish}): after the step in flight a checkpoint is saved. A second signal stops at once."


def _say_end(run: RunFolder, attempt: Attempt, recipe: Recipe, outcome: str, console: Console) -> int:
    where = f"step {_reached(run)} of {recipe.num_steps}"
    if outcome == "finished":
        console.print(f"Finished: {where}. Next: deepscaler merge {run.root}", soft_wrap=True)
        return 0
    if outcome == "stopped":
        console.print(f"Stopped: {where} is saved; the same command goes on.")
        return EXIT_STOPPED
    console.print(f"The trainer failed; {where} is saved. The end of {attempt.log_path}:", soft_wrap=True)
    lines = attempt.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    console.print("\n".join(f"  {line}" for line in lines[-SHOWN_LINES:]), soft_wrap=True)
    return EXIT_FAILED


def _reached(run: RunFolder) -> int:
    """The step of the newest checkpoint."""
    return max((checkpoint.step for checkpoint in sealed(run)), default=0)


def now() -> str:
    """This moment, for a record."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
