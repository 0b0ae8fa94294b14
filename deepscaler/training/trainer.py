"""Runs one training, resumed from whatever its folder holds: starts, watches and stops verl's trainer."""

import errno
import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import Popen

from rich.console import Console

from deepscaler.data.compose import check_composed
from deepscaler.doctor.before import examine_before
from deepscaler.doctor.subject import Purpose, Subject
from deepscaler.mirror.fetch import restore
from deepscaler.models.provenance import command_line
from deepscaler.recipes.recipe import Recipe
from deepscaler.recipes.write import whole
from deepscaler.runs.alarms import NewAlarms
from deepscaler.runs.checkpoints import adopt_leftovers, newest, sealed
from deepscaler.runs.fence import STALE, FencedError, acquire, alive, check_ownership, idle_attempts
from deepscaler.runs.finished import FINISHED, is_finished
from deepscaler.runs.folder import Attempt, RunFolder, now
from deepscaler.runs.metrics import LiveMetrics
from deepscaler.runs.mirror_state import is_fetched
from deepscaler.runs.moments import BEGIN, INPUTS_READY, note_in
from deepscaler.runs.reward_file import edited_note, keep_copy
from deepscaler.runs.space import room_of
from deepscaler.system import processes
from deepscaler.system.errors import UserError, file_system_error
from deepscaler.system.exit_codes import FAILED, STOPPED
from deepscaler.system.files import FULL, free, full_disk, write_json, write_text
from deepscaler.system.signals import stop_signals
from deepscaler.training.deadline import must_stop
from deepscaler.training.forecast import keep_first_estimate
from deepscaler.training.launch import Launch, prepare_launch
from deepscaler.training.manifest import TrainOptions, check_inputs
from deepscaler.training.memory_watch import sampled
from deepscaler.training.mirroring import MirrorProcess
from deepscaler.training.progress import show_steps
from deepscaler.training.resharding.reshard import for_ranks
from deepscaler.training.room import SpaceWatch, make_room
from deepscaler.training.stalls.policy import CUT_SHORT, GRACE, announcement, limits_of, restarts, tries_again
from deepscaler.training.stalls.watcher import Watcher
from deepscaler.training.start import Start

POLL = 0.5
"""Seconds between two looks at the trainer."""

FENCE_INTERVAL = 2.0
"""Seconds between two looks for a newer attempt."""

PATIENCE = 30.0
"""Seconds for Ray to end after the trainer has, or was asked to."""

IGNORED_IN_A_JOB = (signal.SIGTERM, signal.SIGUSR2)
"""Signals that verl ignores in a job of SLURM or Ray, which signal every process: it must finish its step."""

SHOWN_LINES = 25
"""The last lines of the log that are shown if the trainer fails."""

MOST_SEARCHED = 1000
"""The last lines of the log in which a full disk is looked for: Ray says much after it."""

NO_SPACE = os.strerror(errno.ENOSPC)


def train(recipe: Recipe, options: TrainOptions, console: Console) -> int:
    """Trains until the recipe's last step. Returns 0 at the end, 143 if stopped before, 1 if the trainer failed.

    Where no launcher would start an attempt again that the kit has cut short, this does.
    """
    while (code := _attempt(recipe, options, console)) is None:
        console.print("The attempt was cut short: resuming.")
    return code


def _attempt(recipe: Recipe, options: TrainOptions, console: Console) -> int | None:
    """Makes one attempt; returns its exit code, or None if another one is to follow in this process."""
    run = RunFolder(options.run_dir.resolve())
    say = partial(console.print, soft_wrap=True)
    with stop_signals() as stop_requests:
        if options.mirror:
            # Before anything reads the folder: on a new machine it comes from the bucket.
            restore(run, options.mirror, say)
        inputs, manifest = check_inputs(run, recipe, options, say)
        if note := edited_note(run, recipe.reward.function):
            say(f"Note: {note}.")
        if is_finished(run, recipe):
            console.print(f"Finished before: step {_reached(run)} of {recipe.num_steps}.")
            _finish_mirror(run, options, stop_requests, say)
            return 0
        doctor = {} if options.skip_doctor else {"doctor": examine_before(_subject(recipe, options), say)}
        attempt = acquire(run, say)
        if not run.is_run:
            check_composed(run.root, manifest["data"])
        if function := recipe.reward.function:
            manifest["reward"] = keep_copy(run, function)
        # After `acquire`: of two starts at the same moment only one comes this far.
        write_json(run.manifest_path, manifest)
        write_text(run.recipe_path, whole(recipe))
        keep_first_estimate(run, recipe, options.device, next(iter(manifest["hardware"]["gpus"]), ""))
        attempt.update_record(started=now(), command=command_line(), **doctor)
        note_in(attempt, BEGIN, processes.own_start())
        start = Start(run=run, attempt=attempt, recipe=recipe, options=options, inputs=inputs)
        outcome, failing = "failed", None
        try:
            with alive(attempt):
                # Inside `alive`: checking large files takes minutes, and a silent attempt would be taken for dead.
                adopt_leftovers(run, say, partial(check_ownership, run, attempt))
                checkpoint = newest(run, say)
                make_room(run, recipe, say)
                start = replace(start, checkpoint=for_ranks(run, checkpoint, recipe.world_size, say))
                launch = prepare_launch(start, console)
                try:
                    outcome = _supervise(start, launch, stop_requests, console)
                except OSError as error:
                    if error.errno in FULL:
                        raise
                    failing = error
        except FencedError as error:
            # Not `failed`, which a launcher would start again beside the newer attempt.
            outcome = "fenced"
            raise UserError(f"{error}; this attempt has written nothing since") from error
        finally:
            # What filled the disk is said below, and a file system that fails now may have failed before. The next
            # start finds no process.
            with suppress(OSError, UserError):
                attempt.update_record(ended=now(), outcome=outcome, step=_reached(run))
        if failing:
            # Not bad input, after which no launcher starts anything again: it may be over in a minute.
            say(f"The attempt failed, since its file system did: {failing}. Rerun the same command to resume.")
            return FAILED
        # A launcher that gave the Ray cluster starts the attempt again by itself, on a new one.
        may_go_on = start.has_own_ray and not stop_requests and not _is_asked_to_stop(attempt)
        again = outcome == CUT_SHORT and may_go_on and tries_again(run)
        return None if again else _say_end(start, outcome, console)


def _is_asked_to_stop(attempt: Attempt) -> bool:
    """Returns whether anybody but the kit itself, which ends an attempt to resume it, has asked for the end."""
    why = " ".join(str(attempt.read_record().get("why", "")).split())
    return attempt.stop_reason not in ("", why)


def _subject(recipe: Recipe, options: TrainOptions) -> Subject:
    """Returns what the doctor examines this machine for."""
    purpose: Purpose = "train" if options.device == "cuda" else "cpu"
    return Subject(purpose=purpose, recipe=recipe, run_dir=options.run_dir, wandb=options.wandb == "online")


def _finish_mirror(
    run: RunFolder, options: TrainOptions, stop_requests: "deque[str]", say: Callable[[str], None]
) -> None:
    """Uploads what the last attempt had no time for. Raises UserError if that or another one is at work."""
    if not options.mirror or is_fetched(run, options.mirror):
        return
    # It may be finishing its mirror right now, and two processes must not send one attempt's files.
    last = idle_attempts(run, say)[-1]
    try:
        MirrorProcess(run, last, options, say).finish(lambda: bool(stop_requests))
    except FencedError as error:
        raise UserError(f"{error}; nothing was uploaded") from error


def _supervise(start: Start, launch: Launch, stop_requests: "deque[str]", console: Console) -> str:
    """Starts the trainer and watches it to its end; returns how it ended. Raises FencedError."""
    attempt = start.attempt
    note_in(attempt, INPUTS_READY)
    process = processes.start(
        launch.command,
        log=attempt.log_path,
        environment=launch.environment,
        ignored_signals=() if start.has_own_ray else IGNORED_IN_A_JOB,
        folder=launch.folder,
    )
    console.print(f"Attempt {attempt.number}: verl is starting; its output goes to {attempt.log_path}", soft_wrap=True)
    say = partial(console.print, soft_wrap=True)
    mirror = MirrorProcess(start.run, attempt, start.options, say)
    try:
        with Watcher(
            start.run,
            attempt,
            limits_of(start.options),
            launch.environment,
            say,
            # verl then ends its actors itself
            is_ending=lambda: attempt.stop_path.exists() or _reached(start.run) >= start.recipe.num_steps,
        ) as watcher:
            _watch(start, process, mirror, watcher, stop_requests, console)
        mirror.finish(lambda: len(stop_requests) > 1)
    finally:
        # Also after an error here: a trainer without its supervisor has no heartbeat, and would be taken over.
        processes.end(process, PATIENCE)
        mirror.kill()
        launch.clean_up()
    at_end = _reached(start.run) >= start.recipe.num_steps
    # A trainer that dies in the last validation has failed: the next attempt makes it up.
    if at_end and (process.returncode == 0 or is_finished(start.run, start.recipe)):
        return FINISHED
    # After `finished`: a run that reached its last step while it was cut short is done.
    if attempt.read_record().get("why"):
        return CUT_SHORT
    return "stopped" if attempt.stop_path.exists() else "failed"


def _watch(
    start: Start,
    process: "Popen[bytes]",
    mirror: MirrorProcess,
    watcher: Watcher,
    stop_requests: "deque[str]",
    console: Console,
) -> None:
    """Shows steps, passes on requests to stop, and minds the deadline and the fence, until the trainer ends."""
    attempt, metrics, alarms = start.attempt, LiveMetrics(start.run, start.attempt), NewAlarms(start.run)
    looked_at_fence, told = 0.0, False
    watch = SpaceWatch(start.run, start.recipe)
    noted: dict[str, str] = {}

    def note(moment: str, has_come: bool) -> None:
        """Writes down once when something came, so that anybody can tell where the time to the first step went."""
        if has_come and moment not in noted:
            noted[moment] = now()
            attempt.update_record(**noted)

    with sampled(start.run, attempt) as memory, show_steps(console, start.recipe.num_steps) as show:

        def look() -> None:
            """Shows what has been logged since, and the signs of a sick run that have come with it."""
            # All at once: a step and the validation before it may have been logged since the last look.
            new = list(metrics.read_new())
            note("begun", bool(new) or metrics.has_begun)  # on a busy machine the first step is seen in the same look
            for step, values in new:
                show(step, values)
                watcher.add(step, values)
                note("first_step", "timing_s/step" in values)
            for alarm in alarms.read() if new else ():
                console.print(f"Step {new[-1][0]} is sick: {alarm.sign.name}: {alarm}", soft_wrap=True)

        def mind() -> None:
            nonlocal looked_at_fence, told
            look()
            if time.monotonic() - looked_at_fence > FENCE_INTERVAL:
                check_ownership(start.run, attempt)
                mirror.look()
                looked_at_fence = time.monotonic()
                _mind_memory(attempt, memory.look())
                if low := watch.look():
                    console.print(f"WARNING: {low}.", soft_wrap=True)
            reason = (
                stop_requests[0] if stop_requests else attempt.stop_reason or _near_deadline(start.options, metrics)
            )
            if reason and not told:
                if not attempt.stop_path.exists():
                    # In place: that the file exists is the request, and its text only says why.
                    attempt.stop_path.write_text(reason, encoding="utf-8")
                told = True
                console.print(_stopping(reason, metrics), soft_wrap=True)
            # While verl starts no step is in flight, and waiting for one could take until the deadline.
            if (reason and not metrics.has_begun) or len(stop_requests) > 1:
                processes.end(process, PATIENCE)
            if watcher.news and _mind_stall(start, watcher, console):
                processes.end(process, GRACE)

        _mind_until_the_end(process, mind, stop_requests)
        # Lines that were logged between the last look and the end, among them those of the last step.
        look()


def _mind_stall(start: Start, watcher: Watcher, console: Console) -> bool:
    """Reports that the training stalls, or continues; returns whether it is to be ended."""
    attempt, stall = start.attempt, watcher.take_news()
    ends = bool(stall and stall.helps_to_restart and restarts(start.options, own_ray=start.has_own_ray))
    try:
        attempt.update_record(stall=stall.sentence if stall else "")
        if stall and ends:
            attempt.explain_end(stall.sentence)
    except (OSError, UserError):
        watcher.news = True  # or nobody would hear of it any more
        raise
    if stall:
        console.print(announcement(stall, start.run, ends=ends), soft_wrap=True)
    return ends


def _mind_until_the_end(process: "Popen[bytes]", mind: Callable[[], None], stop_requests: "deque[str]") -> None:
    """Calls `mind` several times a second until the trainer ends. Raises OSError if that fails for STALE seconds."""
    failing_since: float | None = None
    while process.poll() is None:
        try:
            mind()
            failing_since = None
        except (OSError, UserError) as error:
            failure = file_system_error(error)
            if failure is None:
                raise
            # A shared file system may fail for a moment, which must not cost a training its steps since the last save.
            # For longer than others wait for a heartbeat, this attempt cannot know whether it still owns the run.
            failing_since = failing_since or time.monotonic()
            if time.monotonic() - failing_since > STALE or len(stop_requests) > 1:
                raise failure from None
        time.sleep(POLL)


def _mind_memory(attempt: Attempt, full: str) -> None:
    """Asks the training to save and to begin again where a node's memory is nearly full."""
    if full and not attempt.stop_path.exists():  # a user's request to stop has precedence
        attempt.explain_end(full)
        attempt.stop_path.write_text(full, encoding="utf-8")


def _near_deadline(options: TrainOptions, metrics: LiveMetrics) -> str:
    """Returns how little time is left, where the step in flight must be the last; else nothing."""
    if options.deadline is None:
        return ""
    left = options.deadline - time.time()
    if must_stop(left, metrics.seconds_in_step, metrics.recent_step_seconds, metrics.save_seconds):
        return f"{max(0, left):.0f} s are left"
    return ""


def _stopping(reason: str, metrics: LiveMetrics) -> str:
    if not metrics.has_begun:
        return f"Stopping ({reason}): no step is in flight."
    return f"Stopping ({reason}): after the step in flight a checkpoint is saved. A second signal stops at once."


def _say_end(start: Start, outcome: str, console: Console) -> int:
    run, log = start.run, start.attempt.log_path
    where = f"step {_reached(run)} of {start.recipe.num_steps}"
    if outcome == FINISHED:
        console.print(f"Finished: {where}. Next: deepscaler merge {run.root}", soft_wrap=True)
        return 0
    if outcome == "stopped":
        console.print(f"Stopped: {where} is saved; rerun the same command to resume.")
        return STOPPED
    if outcome == CUT_SHORT:
        console.print(f"Cut short: {where} is saved; rerun the same command to resume.", soft_wrap=True)
        return FAILED
    console.print(f"The trainer failed; {where} is saved. The end of {log}:", soft_wrap=True)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    console.print("\n".join(f"  {line}" for line in lines[-SHOWN_LINES:]), soft_wrap=True)
    room = room_of(run, start.recipe)
    # Both, because the quota that is full may be of another disk, such as the temporary folder.
    if (room and room.num_fitting < 1) or any(NO_SPACE in line for line in lines[-MOST_SEARCHED:]):
        told = full_disk(start.attempt.checkpoints, room.checkpoint if room else 0)
        temporary = Path(tempfile.gettempdir())
        console.print(
            f"{start.attempt.checkpoints}: {told}; {free(temporary)} in {temporary}; make room, then rerun the same"
            " command.",
            soft_wrap=True,
        )
    return FAILED


def _reached(run: RunFolder) -> int:
    """Returns the step of the newest checkpoint; 0 if there is none."""
    return max((checkpoint.step for checkpoint in sealed(run)), default=0)
