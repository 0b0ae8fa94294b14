"""Evaluate a small real model on this machine."""

import argparse

HELP = "Evaluate a small real model on this machine."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    return 0
