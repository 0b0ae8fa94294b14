"""Where a command runs: `--on local` (default) or `--on slurm --site FILE`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slurm.site import Site

SITE_VARIABLE = "DEEPSCALER_SITE"


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the choice of a place."""
    parser.add_argument("--on", choices=("local", "slurm"), default="local", help="where (default: %(default)s)")
    parser.add_argument(
        "--site", type=Path, metavar="FILE", help=f"what the SLURM cluster wants to hear (default: ${SITE_VARIABLE})"
    )


def site_of(arguments: argparse.Namespace) -> "Site | None":
    """The site of `--on slurm`; None where the command runs here. Raises UserError for one without the other."""
    from deepscaler.system.errors import UserError  # noqa: PLC0415

    if arguments.on == "local":
        if arguments.site:
            raise UserError(f"--site {arguments.site} is of a SLURM cluster: give --on slurm too")
        return None
    file = arguments.site or (Path(told) if (told := os.environ.get(SITE_VARIABLE)) else None)
    if file is None:
        raise UserError("--on slurm needs --site FILE; `deepscaler slurm init FILE` asks the cluster and writes one")
    from slurm.site import load_site  # noqa: PLC0415

    site = load_site(file)
    if site.kit_cache:  # what is prepared here is for the nodes
        os.environ["DEEPSCALER_CACHE"] = site.kit_cache
    return site
