"""`deepscaler doctor`: what is missing here, before hours are lost to it."""

import argparse
import os
from pathlib import Path

from rich.console import Console

from deepscaler.commands.counting import counts_with
from deepscaler.commands.launcher import CLUSTER, add_dry_run, add_place, launcher_for
from deepscaler.commands.parser import Parser, folder_to_write
from deepscaler.doctor.examine import MODULES, examine, guess_purpose
from deepscaler.job import Image, Job
from deepscaler.output.terminal import PlainConsole, printable
from deepscaler.system.exit_codes import DONE, FAILED
from deepscaler.system.flags import number, whole

EXAMPLES = ("deepscaler doctor --for eval", "deepscaler doctor --on slurm --site site.toml --nodes 4")


def configure(parser: Parser) -> None:
    """Adds what to check for, and on which machines."""
    parser.add_argument("--for", dest="purpose", choices=MODULES, help="purpose of the environment (default: guessed)")
    lock = os.environ.get("DEEPSCALER_LOCK")
    locked = parser.add_argument(
        "--lock",
        type=Path,
        metavar="FILE",
        default=Path(lock) if lock else None,
        help="requirements that must be installed exactly (default: $DEEPSCALER_LOCK)",
    )
    image = parser.add_argument(
        "--image-only", action="store_true", help="leave this machine out: the test of an image when it is built"
    )
    dry_run = add_dry_run(parser, "describe the job, submit nothing")
    section = add_place(parser)
    for action in (
        section.add_argument(
            "--nodes", type=whole(1), metavar="N", default=1, help="nodes to examine (default: %(default)s)"
        ),
        section.add_argument(
            "--gpus", type=whole(0), metavar="N", default=8, help="GPUs per node (default: %(default)s)"
        ),
        section.add_argument(
            "--minutes",
            type=number(above=0),
            metavar="X",
            default=30,
            help="longest wait for answers (default: %(default)s)",
        ),
        section.add_argument(
            "--output-dir",
            type=folder_to_write,
            metavar="DIR",
            default=Path("outputs/doctor"),
            help="folder of the jobs of --on (default: %(default)s)",
        ),
        dry_run,
    ):
        counts_with(action, on=CLUSTER)
    for action in (locked, image):
        counts_with(action, on="local")


def run(arguments: argparse.Namespace) -> int:
    """Has this machine or others examine themselves; 1 if a finding is not ok."""
    launcher, console = launcher_for(arguments), PlainConsole()
    purpose = arguments.purpose or ("train" if arguments.on in CLUSTER else guess_purpose())
    images: dict[str, Image] = {"train": "train", "eval": "eval"}
    here = ("--lock", str(arguments.lock)) if arguments.lock and arguments.on == "local" else ()
    job = Job(
        name="doctor",
        arguments=("doctor", "--for", purpose, *here, *(("--image-only",) if arguments.image_only else ())),
        num_nodes=arguments.nodes,
        gpus_per_node=arguments.gpus,
        image=images.get(purpose, "cpu"),
    )
    folder = arguments.output_dir.absolute()
    if arguments.dry_run:
        return launcher.describe_examination(job, folder, console, full=arguments.dry_run == "full")
    return launcher.examine(job, folder, console, minutes=arguments.minutes)


def examine_here(arguments: argparse.Namespace, console: Console) -> int:
    """Prints each finding as it is made; 1 if one is not ok."""
    console.print(f"Checking for: {arguments.purpose}")
    num_failed = 0
    for finding in examine(arguments.purpose, arguments.lock, image_only=arguments.image_only):
        num_failed += not finding.ok
        advice = "" if finding.ok or not finding.advice else f" ({finding.advice})"
        label = "ok  " if finding.ok else "FAIL"
        console.print(f"{label}  {finding.name:22}  {printable(finding.detail)}{advice}", soft_wrap=True)
    console.print("Nothing is missing." if not num_failed else f"{num_failed} of the checks failed.")
    return FAILED if num_failed else DONE
