"""Chooses where a command runs: `--on local`, or `--on slurm` and `--on k8s` with `--site FILE`."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from deepscaler.commands.counting import counts_with
from deepscaler.commands.parser import Parser
from deepscaler.launch.launcher import Launcher, PlannedJob, launcher_at
from deepscaler.output.terminal import PlainConsole

SITE_VARIABLE = "DEEPSCALER_SITE"
CLUSTER = ("slurm", "k8s")
"""Choices of `--on` with machines of their own."""

# argparse has no public name for it.
Options = argparse._ArgumentGroup


def add_place(parser: Parser) -> Options:
    """Adds the choice of a place, and returns its section for what else describes the machines."""
    section = parser.add_argument_group("where it runs")
    section.add_argument(
        "--on", choices=("local", *CLUSTER), default="local", help="place to run the command (default: %(default)s)"
    )
    counts_with(add_site(section), on=CLUSTER)
    return section


def add_site(section: Options | Parser) -> argparse.Action:
    """Adds `--site`."""
    return section.add_argument(
        "--site",
        type=Path,
        metavar="FILE",
        help=f"site file that describes the cluster (default: ${SITE_VARIABLE})",
    )


def site_of(arguments: argparse.Namespace) -> Path | None:
    """Returns the site file that was given, by option or environment."""
    variable = os.environ.get(SITE_VARIABLE)
    # Path of an empty variable would be this folder
    return arguments.site or (Path(variable) if variable else None)


def add_dry_run(parser: Parser, about: str) -> argparse.Action:
    """Adds `--dry-run`, which on a cluster has a `full` form that prints the batch scripts or manifests too."""
    action = parser.add_dry_run(f"{about}; `=full`: with the scripts or manifests of --on", scripts=True)
    return counts_with(action, on=CLUSTER, value="full")


def launcher_for(arguments: argparse.Namespace) -> Launcher:
    """Returns the launcher that was asked for. Raises UserError if its site is missing or wrong."""
    return launcher_at(arguments.on, site_of(arguments))


def submit(arguments: argparse.Namespace, plan: Sequence[PlannedJob], launcher: Launcher, folder: Path) -> int:
    """Submits the jobs of a plan, or describes them for `--dry-run`."""
    if arguments.dry_run:
        return launcher.describe(plan, folder, PlainConsole(), full=arguments.dry_run == "full")
    return launcher.submit(plan, folder, PlainConsole())
