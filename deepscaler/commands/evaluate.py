"""`deepscaler evaluate`: flags are the fields of EvaluationConfig."""

import argparse
from pathlib import Path

from deepscaler.commands.launcher import add_place, site_of
from deepscaler.data.sources import SOURCES
from deepscaler.system.options import add_flags, given_options
from evaluation.config import EvaluationConfig, load_config

HELP = "Sample a model on benchmarks, grade, and report."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `--config`, `--dry-run` and one flag for each field; a flag not given leaves the file's or default value."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with any of the options below")
    parser.add_argument("--dry-run", action="store_true", help="print what would be drawn, write nothing")
    add_flags(parser, EvaluationConfig)
    add_place(parser)
    parser.add_argument("--problems-per-job", type=int, default=50, help="on SLURM, of an array (default: %(default)s)")
    parser.add_argument("--nodes", type=int, default=1, help="on a cluster, with --engines (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=8, help="of each of these nodes (default: %(default)s)")
    parser.epilog = f"Data sets: {', '.join(SOURCES)}."


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, or say what would be evaluated."""
    from deepscaler.output.terminal import PlainConsole  # noqa: PLC0415
    from deepscaler.system.errors import UserError  # noqa: PLC0415

    config = load_config(arguments.config, given_options(arguments, EvaluationConfig))
    if arguments.nodes != 1 and not config.engines:
        raise UserError(f"--nodes {arguments.nodes} is for --engines N: say how many engines those nodes are to run")
    if site := site_of(arguments):
        from slurm.submit.evaluation import plan_evaluation  # noqa: PLC0415
        from slurm.submit.launch import launch  # noqa: PLC0415

        if arguments.problems_per_job < 1:
            raise UserError(f"--problems-per-job {arguments.problems_per_job} must be at least 1")
        plan = plan_evaluation(config, arguments.problems_per_job, arguments.nodes, arguments.gpus)
        return launch(plan, site, config.output_dir.absolute(), PlainConsole(), dry_run=arguments.dry_run)
    if arguments.dry_run:
        from evaluation.plan import describe_plan  # noqa: PLC0415

        describe_plan(config, PlainConsole())
        return 0
    from evaluation.evaluate import evaluate  # noqa: PLC0415

    return evaluate(config, PlainConsole())
