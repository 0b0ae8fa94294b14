"""Runs jobs on SLURM by submitit and SLURM's own commands, through folders that all machines share."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rich.console import Console

from deepscaler.job import Job
from deepscaler.launch.launcher import Examination, JobState, Launcher, PlannedJob
from deepscaler.system.errors import UserError
from deepscaler.system.paths import existing_folder
from slurm.cluster import cancel
from slurm.job_folder import SLURM
from slurm.jobs import known_states, live_and_lost, read_jobs, with_successors
from slurm.logs import show_logs
from slurm.site import Site, load_site
from slurm.submit.doctor import describe_examination, examine_nodes
from slurm.submit.launch import describe, launch


class SlurmLauncher(Launcher):
    """The cluster of a site file."""

    on = "slurm"
    title = "SLURM"

    def __init__(self, site: Site | None) -> None:
        self._site = site

    @classmethod
    def at(cls, site: Path | None) -> Self:
        """Returns the launcher of a site file, whose cache becomes the one that is prepared for the nodes."""
        if site is None:
            raise UserError(
                "--on slurm needs --site FILE; `deepscaler slurm init FILE` asks the cluster and writes one"
            )
        loaded = load_site(site)
        if loaded.kit_cache:
            # cache_dir reads this variable, here and in every child that prepares data.
            os.environ["DEEPSCALER_CACHE"] = loaded.kit_cache
        return cls(loaded)

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """Returns the launcher of a folder that holds SLURM jobs, or whose jobs SLURM alone remembers."""
        folder = folder.absolute()
        # SLURM is asked only for a folder that is gone: under load its answer may take up to a minute.
        is_lost = not folder.is_dir() and shutil.which("squeue") and live_and_lost(folder, [])[1]
        return cls(None) if (folder / SLURM).is_dir() or is_lost else None

    @property
    def site(self) -> Site:
        """Returns the site file, which only submitting needs."""
        assert self._site is not None, "made by `at`"
        return self._site

    @property
    def gpu(self) -> str:
        """Returns the type of GPU of the site file."""
        return self.site.gpu_type

    def submit(self, plan: Sequence[PlannedJob], folder: Path, console: Console) -> int:
        """Submits a plan in order."""
        return launch(plan, self.site, folder, console)

    def describe(self, plan: Sequence[PlannedJob], folder: Path, console: Console, *, full: bool) -> int:
        """Prints a line a job, with `full` the batch scripts, and asks SLURM whether it would take them."""
        return describe(plan, self.site, folder, console, scripts=full)

    def states(self, folder: Path) -> tuple[list[tuple[str, JobState]], str]:
        """Returns every job as SLURM tells, or as its files do."""
        jobs, why = known_states(folder.absolute())
        return [(job.title, state) for job, state in jobs], why

    def show_logs(self, folder: Path, job: str | None, lines: int, *, follow: bool) -> int:
        """Prints what the nodes of a job say, each line with its node."""
        return show_logs(folder.absolute(), job, lines, follow=follow)

    def cancel(self, folder: Path, console: Console, *, dry_run: bool) -> int:
        """Cancels what is queued or running, also jobs that the run's folder has lost."""
        run_folder = folder.absolute()
        jobs = read_jobs(run_folder)
        live, lost = live_and_lost(run_folder, jobs)
        if not jobs and not lost:
            existing_folder(folder)
            raise UserError(f"{folder} has no SLURM jobs; give the --output-dir of what was submitted")
        chosen = {job.job_id: job.title for job in with_successors(run_folder, jobs) if job.job_id in live}
        chosen |= dict.fromkeys(lost, "not written in the run's folder")
        for job_id, name in chosen.items():
            console.print(f"{'Would cancel' if dry_run else 'Cancelling'} {job_id} ({name})", soft_wrap=True)
        if not chosen:
            console.print("No job of this run is queued or running.")
        elif not dry_run:
            cancel([*reversed(chosen)])  # successors first, or the end of a job would let them begin
        return 0

    def examine(self, asked: Examination, folder: Path, console: Console) -> int:
        """Has nodes of the cluster examine themselves and each other."""
        return examine_nodes(asked, self.site, folder, console)

    def describe_examination(self, job: Job, folder: Path, console: Console, *, full: bool) -> int:
        """Prints the job of `examine`."""
        return describe_examination(job, self.site, folder, console, scripts=full)
