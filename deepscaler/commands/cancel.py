"""`deepscaler cancel`: end the SLURM jobs of a run."""

import argparse
from pathlib import Path

HELP = "Cancel the SLURM jobs of a run; what is saved stays."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the --output-dir of what was submitted")
    parser.add_argument("--dry-run", action="store_true", help="print the jobs, cancel nothing")


def run(arguments: argparse.Namespace) -> int:
    """Cancel what is queued or running."""
    from deepscaler.system.errors import UserError  # noqa: PLC0415
    from slurm.cluster import cancel, live_jobs  # noqa: PLC0415
    from slurm.jobs import lost_jobs, read_jobs  # noqa: PLC0415

    run_folder = arguments.run_dir.absolute()
    jobs = read_jobs(run_folder)
    lost = lost_jobs(run_folder, jobs)
    if not jobs and not lost:
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
