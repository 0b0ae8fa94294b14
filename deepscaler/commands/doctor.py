"""`deepscaler doctor`: what is missing here, before hours are lost to it."""

import argparse
import os
from pathlib import Path

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


def run(arguments: argparse.Namespace) -> int:
    """Print each finding as it is made; 1 if one is not ok."""
    from deepscaler.doctor.examine import examine, guess_purpose  # noqa: PLC0415
    from deepscaler.terminal import PlainConsole, printable  # noqa: PLC0415

    console = PlainConsole()
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
