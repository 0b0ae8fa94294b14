"""The subcommands, in the order `deepscaler --help` lists them."""

import argparse
from typing import Protocol

from deepscaler.commands import (
    cancel,
    data,
    doctor,
    evaluate,
    k8s,
    logs,
    merge,
    quickstart,
    recipes,
    render,
    report,
    run,
    slurm,
    status,
    train,
)


class Command(Protocol):
    """What a command module offers."""

    HELP: str

    def configure(self, parser: argparse.ArgumentParser, /) -> None:
        """Add the command's options."""

    def run(self, arguments: argparse.Namespace, /) -> int:
        """Do it and return the exit code; heavy imports belong in here."""
        ...


COMMANDS: dict[str, Command] = {
    "data": data,
    "train": train,
    "merge": merge,
    "evaluate": evaluate,
    "run": run,
    "status": status,
    "logs": logs,
    "cancel": cancel,
    "report": report,
    "recipes": recipes,
    "quickstart": quickstart,
    "doctor": doctor,
    "slurm": slurm,
    "render": render,
    "k8s": k8s,
}
