"""Where the checkout is, for every test that reads its files."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
"""Data and tools beside the checkout; tests that need them skip where they are not there."""
