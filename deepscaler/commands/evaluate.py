"""`deepscaler evaluate`: flags are the fields of EvaluationConfig."""

import argparse
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from deepscaler.commands.launcher import add_place, site_of
from deepscaler.data.sources import SOURCES
from evaluation.config import EvaluationConfig, flag, load_config

HELP = "Sample a model on benchmarks, grade, and report."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `--config`, `--dry-run` and one flag for each field; a flag not given leaves the file's or default value."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with any of the options below")
    parser.add_argument("--dry-run", action="store_true", help="print what would be drawn, write nothing")
    for option in fields(EvaluationConfig):
        default = f" (default: {_shown(option.default)})" if _is_told(option.default) else ""
        parser.add_argument(
            flag(option.name),
            default=argparse.SUPPRESS,
            help=f"{option.metadata['help']}{default}".replace("%", "%%"),
            **_argument(option),
        )
    add_place(parser)
    parser.add_argument("--problems-per-job", type=int, default=50, help="on SLURM, of an array (default: %(default)s)")
    parser.add_argument("--nodes", type=int, default=1, help="on a cluster, with --engines (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=8, help="of each of these nodes (default: %(default)s)")
    parser.epilog = f"Data sets: {', '.join(SOURCES)}."


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, or say what would be evaluated."""
    from deepscaler.output.terminal import PlainConsole  # noqa: PLC0415
    from deepscaler.system.errors import UserError  # noqa: PLC0415

    config = load_config(arguments.config, given_options(arguments))
    if arguments.nodes != 1 and not config.engines:
        raise UserError(f"--nodes {arguments.nodes} is for --engines N: say how many engines those nodes are to run")
    if site := site_of(arguments):
        from slurm.submit.evaluation import plan_evaluation  # noqa: PLC0415
        from slurm.submit.launch import launch  # noqa: PLC0415

        if arguments.problems_per_job < 1:
            raise UserError(f"--problems-per-job {arguments.problems_per_job} must be at least 1")
        plan = plan_evaluation(
            config, arguments.problems_per_job, arguments.nodes, arguments.gpus, dry_run=arguments.dry_run
        )
        return launch(plan, site, config.output_dir.absolute(), PlainConsole(), dry_run=arguments.dry_run)
    if arguments.dry_run:
        from evaluation.plan import describe_plan  # noqa: PLC0415

        describe_plan(config, PlainConsole())
        return 0
    from evaluation.evaluate import evaluate  # noqa: PLC0415

    return evaluate(config, PlainConsole())


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields that stand on the command line."""
    names = {option.name for option in fields(EvaluationConfig)}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    if "datasets" in given:
        given["datasets"] = tuple(given["datasets"])
    return given


def _argument(option: Field[Any]) -> dict[str, Any]:
    """How argparse is to read a field."""
    if option.name == "datasets":
        return {"nargs": "+", "metavar": "NAME"}
    if option.type is bool:
        return {"action": "store_true"}
    if "Path" in str(option.type):
        return {"type": Path}
    return {"type": option.type, "choices": option.metadata["choices"]}


def _is_told(default: Any) -> bool:
    return default not in (MISSING, None, "") and default is not False


def _shown(default: Any) -> str:
    return " ".join(default) if isinstance(default, tuple) else str(default)
