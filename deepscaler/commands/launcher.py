"""Where a command runs: `--on local` (default) or `--on slurm --site FILE`. The only reader of `--on`."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from deepscaler.commands.counting import counts_with
from deepscaler.commands.parser import Parser
from deepscaler.output.terminal import PlainConsole
from deepscaler.system.errors import UserError
from slurm.site import Site, load_site
from slurm.submit.launch import PlannedJob, describe, launch

SITE_VARIABLE = "DEEPSCALER_SITE"
CLUSTER = ("slurm", "k8s")
"""Choices of `--on` with machines of their own; `render` presets k8s, which cannot be typed."""

HERE = ("local", "k8s")
"""Choices of `--on` where the command itself does the work."""

Options = argparse._ArgumentGroup


def add_place(parser: Parser) -> Options:
    """Adds the choice of a place, and returns its section for what else describes the machines."""
    section = parser.add_argument_group("where it runs")
    section.add_argument(
        "--on", choices=("local", "slurm"), default="local", help="where to run it (default: %(default)s)"
    )
    site = section.add_argument(
        "--site",
        type=Path,
        metavar="FILE",
        help=f"site file that describes the SLURM cluster (default: ${SITE_VARIABLE})",
    )
    counts_with(site, on="slurm")
    return section


def add_dry_run(parser: Parser, about: str) -> argparse.Action:
    """Adds `--dry-run`, which on SLURM has a `full` form that prints the batch scripts too."""
    action = parser.add_dry_run(f"{about}; `=full`: with the batch scripts of --on slurm", scripts=True)
    return counts_with(action, on="slurm", value="full")


def site_of(arguments: argparse.Namespace) -> Site | None:
    """Returns the site of `--on slurm`, None where the command runs here. Raises UserError where no site is named."""
    if arguments.on == "local":
        return None
    file = arguments.site or (Path(named) if (named := os.environ.get(SITE_VARIABLE)) else None)
    if file is None:
        raise UserError("--on slurm needs --site FILE; `deepscaler slurm init FILE` asks the cluster and writes one")
    site = load_site(file)
    if site.kit_cache:  # what is prepared here is for the nodes
        os.environ["DEEPSCALER_CACHE"] = site.kit_cache
    return site


def submit(arguments: argparse.Namespace, plan: Sequence[PlannedJob], site: Site, folder: Path) -> int:
    """Submits the jobs of a plan, or describes them for `--dry-run`."""
    if arguments.dry_run:
        return describe(plan, site, folder, PlainConsole(), scripts=arguments.dry_run == "full")
    return launch(plan, site, folder, PlainConsole())
