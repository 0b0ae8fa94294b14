"""`deepscaler slurm init`: a first site file from what the cluster says of itself."""

import argparse
from pathlib import Path

from deepscaler.commands.parser import Parser, add_action
from slurm.discover import discover

EXAMPLES = ("deepscaler slurm init site.toml", "deepscaler slurm init site.toml --partition gpu --dry-run")


def configure(parser: Parser) -> None:
    """Adds the only action."""
    init = add_action(parser.add_actions(), "init", "ask the cluster what it is, and write a first site file")
    init.add_argument(
        "file",
        type=Path,
        nargs="?",
        default=Path("site.toml"),
        metavar="FILE",
        help="file to write (default: site.toml)",
    )
    init.add_argument(
        "--partition", default="", metavar="NAME", help="partition to submit to (default: the one with GPUs)"
    )
    init.add_dry_run("print the site file, write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Writes the file."""
    print(discover(arguments.file, arguments.partition, dry_run=arguments.dry_run))
    return 0
