"""Runs commands on this machine: the command itself does the work, and its files show its state."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rich.console import Console

from deepscaler.job import Job
from deepscaler.launch.launcher import Examination, JobState, Launcher, PlannedJob
from deepscaler.output.tail import Tail
from deepscaler.runs.fence import STALE
from deepscaler.runs.folder import Attempt
from deepscaler.runs.outputs import newest_attempts, unfinished_attempts
from deepscaler.system.errors import UserError
from deepscaler.system.paths import existing_folder

POLL = 1.0
"""Seconds between two looks at a log."""


class LocalLauncher(Launcher):
    """No scheduler: a run ends when its process does."""

    on = "local"
    title = "this machine"

    @classmethod
    def at(cls, site: Path | None) -> Self:
        """Returns the launcher; that --site counts with another place alone is checked where options are read."""
        return cls()

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """Returns the launcher of every folder that no other one knows."""
        return cls()

    def submit(self, plan: Sequence[PlannedJob], folder: Path, console: Console) -> int:
        """Does the work."""
        [planned] = plan
        assert planned.here is not None, "a plan for this machine says how"
        return planned.here()

    def describe(self, plan: Sequence[PlannedJob], folder: Path, console: Console, *, full: bool) -> int:
        """Has the work say what it would do."""
        # `here` was made for a dry run, so that it prints and does nothing
        return self.submit(plan, folder, console)

    def states(self, folder: Path) -> tuple[list[tuple[str, JobState]], str]:
        """Returns nothing: what a run's own files tell is shown for every place."""
        return [], ""

    def show_logs(self, folder: Path, job: str | None, lines: int, *, follow: bool) -> int:
        """Prints the log of the newest attempt, and with `follow` of every new one until the last has ended."""
        if job:
            raise UserError(f"--job {job}: {folder} has no jobs, its attempts ran on this machine; leave --job out")
        existing_folder(folder)
        tail, told = Tail(lines), None
        while True:
            attempts = newest_attempts(folder)
            if not attempts:
                raise UserError(f"{folder} has no attempt of a training yet; its log is the command's own output")
            # By time and not by number: each stage of a chain counts its attempts from 1.
            attempt = max(attempts, key=lambda one: one.root.stat().st_mtime)
            if attempt != told:
                print(f"== attempt {attempt.number}: {attempt.log_path}", flush=True)
                told = attempt
            is_alive = any(map(_is_alive, unfinished_attempts(folder)))  # asked first: its last lines come with its end
            if attempt.log_path.is_file():
                tail.show(attempt.log_path, "verl")
            if not (follow and is_alive):
                return 0
            time.sleep(POLL)

    def cancel(self, folder: Path, console: Console, *, dry_run: bool) -> int:
        """Asks a living training to finish its step, save and end, as SIGTERM does."""
        existing_folder(folder)
        living = [attempt for attempt in unfinished_attempts(folder) if _is_alive(attempt)]
        for attempt in living:
            told = f"attempt {attempt.number} on {attempt.read_record().get('host', '?')}"
            console.print(f"{'Would ask' if dry_run else 'Asking'} {told} to finish its step and save.", soft_wrap=True)
            if not dry_run:
                # the text is the reason that `status` shows
                attempt.stop_path.write_text("deepscaler cancel", encoding="utf-8")
        if not living:
            console.print("No training of this run is at work.")
        return 0

    def examine(self, asked: Examination, folder: Path, console: Console) -> int:
        """Examines this machine."""
        assert asked.here is not None
        return asked.here()

    def describe_examination(self, job: Job, folder: Path, console: Console, *, full: bool) -> int:
        """Raises UserError: looking at this machine changes nothing."""
        raise UserError("doctor examines this machine without changing anything: leave --dry-run out")


def _is_alive(attempt: Attempt) -> bool:
    """Returns whether a heartbeat is fresh, by the clock of the file system's machine."""
    try:
        return time.time() - attempt.heartbeat_path.stat().st_mtime < STALE
    except OSError:
        return False
