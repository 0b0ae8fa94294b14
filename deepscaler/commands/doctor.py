"""`deepscaler doctor`: what is missing here, before hours are lost to it."""

import argparse
import os
from pathlib import Path

from deepscaler.commands.launcher import add_place, site_of
from deepscaler.doctor.examine import MODULES

HELP = "Check this machine or image: packages as locked, imports, GPU code, shared memory, caches."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what to check for."""
    parser.add_argument(
        "--for",
        dest="purpose",
        choices=MODULES,
        help="what this environment is to do (default: what is installed tells)",
    )
    lock = os.environ.get("DEEPSCALER_LOCK")
    parser.add_argument(
        "--lock", type=Path, default=Path(lock) if lock else None, help="requirements that must be installed exactly"
    )
    parser.add_argument(
        "--image-only",
        action="store_true",
        help="leave this machine out: the test of an image when it is built",
    )
    add_place(parser)
    parser.add_argument("--nodes", type=int, default=1, help="of the cluster to ask (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=8, help="of each node (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=30, help="to wait for the answer (default: %(default)s)")
    parser.add_argument("--output-dir", type=Path, default=Path("outputs/doctor"), help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="print the batch script of --on slurm, submit nothing")


def run(arguments: argparse.Namespace) -> int:
    """Print each finding as it is made; 1 if one is not ok."""
    from deepscaler.doctor.examine import examine, guess_purpose  # noqa: PLC0415
    from deepscaler.output.terminal import PlainConsole, printable  # noqa: PLC0415
    from deepscaler.system.errors import UserError  # noqa: PLC0415

    console = PlainConsole()
    if site := site_of(arguments):
        from deepscaler.job import Job  # noqa: PLC0415
        from slurm.submit.doctor import examine_nodes  # noqa: PLC0415

        purpose = arguments.purpose or "train"
        job = Job(
            name="doctor",
            arguments=("doctor", "--for", purpose),
            num_nodes=arguments.nodes,
            gpus_per_node=arguments.gpus,
            image=purpose if purpose in ("train", "eval") else "cpu",
        )
        folder = arguments.output_dir.absolute()
        return examine_nodes(job, site, folder, console, minutes=arguments.minutes, dry_run=arguments.dry_run)
    if arguments.nodes != 1:
        raise UserError(f"--nodes {arguments.nodes} is of a cluster: give --on slurm and --site FILE too")
    purpose = arguments.purpose or guess_purpose()
    console.print(f"Checking for: {purpose}")
    num_failed = 0
    for finding in examine(purpose, arguments.lock, image_only=arguments.image_only):
        num_failed += not finding.ok
        advice = "" if finding.ok or not finding.advice else f" ({finding.advice})"
        label = "ok  " if finding.ok else "FAIL"
        console.print(f"{label}  {finding.name:22}  {printable(finding.detail)}{advice}", soft_wrap=True)
    console.print("Nothing is missing." if not num_failed else f"{num_failed} of the checks failed.")
    return 1 if num_failed else 0
