"""`deepscaler cancel`: end the SLURM jobs of a run."""

import argparse
import shutil
from pathlib import Path

from deepscaler.commands.parser import Parser
from deepscaler.system.errors import UserError
from deepscaler.system.paths import existing_folder
from slurm.cluster import cancel, live_jobs
from slurm.jobs import lost_jobs, read_jobs

EXAMPLES = ("deepscaler cancel outputs/8k-16k-24k --dry-run", "deepscaler cancel outputs/8k-16k-24k")


def configure(parser: Parser) -> None:
    """Adds the folder."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the --output-dir of what was submitted")
    parser.add_dry_run("print the jobs, cancel nothing")


def run(arguments: argparse.Namespace) -> int:
    """Cancels what is queued or running."""
    run_folder = arguments.run_dir.absolute()
    if shutil.which("squeue") is None:  # with it, jobs of a folder that was removed are found by where they write
        existing_folder(arguments.run_dir)
    jobs = read_jobs(run_folder)
    lost = lost_jobs(run_folder, jobs)
    if not jobs and not lost:
        existing_folder(arguments.run_dir)
        raise UserError(f"{arguments.run_dir} has no SLURM jobs; give the --output-dir of what was submitted")
    live = live_jobs([job.job_id for job in jobs])
    chosen = {job.job_id: job.name for job in jobs if job.job_id in live}
    chosen |= dict.fromkeys(lost, "not written in the run's folder")
    for job_id, name in chosen.items():
        print(f"{'Would cancel' if arguments.dry_run else 'Cancelling'} {job_id} ({name})")
    if not chosen:
        print("No job of this run is queued or running.")
    elif not arguments.dry_run:
        cancel(chosen)
    return 0
