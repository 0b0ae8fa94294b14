"""`deepscaler evaluate`: flags are the fields of EvaluationConfig."""

import argparse
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from deepscaler.data.sources import SOURCES
from evaluation.config import EvaluationConfig, flag, load_config

HELP = "Sample a model on benchmarks, grade, and report."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `--config`, `--dry-run` and one flag for each field; a flag not given leaves the file's or default value."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with any of the options below")
    parser.add_argument("--dry-run", action="store_true", help="print what would be drawn, write nothing")
    for option in fields(EvaluationConfig):
        default = "" if option.default in (MISSING, None) else f" (default: {_shown(option.default)})"
        more: dict[str, Any] = {"nargs": "+", "metavar": "NAME"} if option.name == "datasets" else {}
        parser.add_argument(
            flag(option.name),
            type=_argument_type(str(option.type)),
            default=argparse.SUPPRESS,
            choices=option.metadata["choices"],
            help=f"{option.metadata['help']}{default}".replace("%", "%%"),
            **more,
        )
    parser.epilog = f"Data sets: {', '.join(SOURCES)}."


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, or say what would be evaluated."""
    from deepscaler.terminal import PlainConsole  # noqa: PLC0415
    from evaluation.evaluate import describe_plan, evaluate  # noqa: PLC0415

    config = load_config(arguments.config, given_options(arguments))
    console = PlainConsole()
    if arguments.dry_run:
        describe_plan(config, console)
        return 0
    return evaluate(config, console)


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields that stand on the command line."""
    names = {option.name for option in fields(EvaluationConfig)}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    if "datasets" in given:
        given["datasets"] = tuple(given["datasets"])
    return given


def _argument_type(annotation: str) -> type[Any]:
    if "Path" in annotation:
        return Path
    return {"<class 'int'>": int, "<class 'float'>": float}.get(annotation, str)


def _shown(default: Any) -> str:
    return " ".join(default) if isinstance(default, tuple) else str(default)
