"""Where the checkout is, for every test that reads its files."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
"""Data and tools beside the checkout; tests that need them skip where they are not there."""


def copy_packages(folder: Path) -> None:
    """Copies the three packages, so that a test may change them as a contributor would."""
    for package in ("deepscaler", "evaluation", "slurm"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
