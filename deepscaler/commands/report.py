"""Recompute scores and reports from samples."""

import argparse

HELP = "Recompute scores and reports from samples."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    return 0
