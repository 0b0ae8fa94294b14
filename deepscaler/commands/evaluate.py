"""Sample a model on benchmarks, grade, and report."""

import argparse

HELP = "Sample a model on benchmarks, grade, and report."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    return 0
