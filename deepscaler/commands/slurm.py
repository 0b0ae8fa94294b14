"""`deepscaler slurm init`: a first site file from what the cluster says of itself."""

import argparse
from pathlib import Path

HELP = "Ask a SLURM cluster what it is, and write a first site file."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the only action."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    init = actions.add_parser("init", help="write a first site file", description=HELP)
    init.add_argument("file", type=Path, nargs="?", default=Path("site.toml"), help="default: %(default)s")
    init.add_argument("--partition", default="", help="default: the one with GPUs")


def run(arguments: argparse.Namespace) -> int:
    """Write the file."""
    from slurm.discover import discover  # noqa: PLC0415

    print(discover(arguments.file, arguments.partition))
    return 0
