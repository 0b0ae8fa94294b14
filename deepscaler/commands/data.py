"""Prepare training and evaluation data."""

import argparse

HELP = "Prepare training and evaluation data."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    return 0
