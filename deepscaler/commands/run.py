"""`deepscaler run`: a chain of recipes, each from the merged model of the one before."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from deepscaler.commands.launcher import site_of
from deepscaler.commands.train import add_options, passed_on
from deepscaler.system.options import given_options

if TYPE_CHECKING:
    from deepscaler.runs.chain import Chain
    from slurm.site import Site

HELP = "Train a chain of recipes, such as 8k 16k 24k; the same command goes on."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the stages and what happens between them."""
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="the stages in order")
    parser.add_argument("--output-dir", type=Path, help="folder of the chain (default: outputs/RECIPE-RECIPE-...)")
    parser.add_argument("--eval", nargs="+", default=[], metavar="NAME", help="benchmarks before and after each stage")
    parser.add_argument("--eval-options", default="", metavar="FLAGS", help="for `deepscaler evaluate`, as one text")
    parser.add_argument("--gate", action="store_true", help="stop where a stage is worse by more than its interval")
    parser.add_argument("--dry-run", action="store_true", help="print every command, run nothing")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="STAGE:KIND", help="only these steps: 16k:train, 8k:merge, 8k:evaluate"
    )
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the chain."""
    from deepscaler.output.terminal import PlainConsole  # noqa: PLC0415
    from deepscaler.recipes.load import load_recipe  # noqa: PLC0415
    from deepscaler.runs.chain import ChainOptions, build_chain  # noqa: PLC0415
    from deepscaler.training.run_chain import describe_chain, run_chain  # noqa: PLC0415

    recipes = [load_recipe(name, arguments.profile, arguments.set) for name in arguments.recipes]
    root = arguments.output_dir or Path("outputs", "-".join(arguments.recipes))
    options = ChainOptions(
        datasets=tuple(arguments.eval),
        evaluation_options=_evaluation_options(arguments),
        gate=arguments.gate,
        train_options=tuple(passed_on(arguments)),
    )
    chain = build_chain(root.resolve(), recipes, arguments.set, options)
    console = PlainConsole()
    if site := site_of(arguments):
        return _submit(arguments, chain, site)
    if arguments.dry_run:
        describe_chain(chain, console, arguments.only)
        return 0
    return run_chain(chain, console, arguments.only)


def _evaluation_options(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Those for `deepscaler evaluate`, understood by its own parser now. Raises UserError or exits with 2."""
    from deepscaler.cli import build_parser  # noqa: PLC0415  the one parser of all commands
    from deepscaler.system.errors import UserError  # noqa: PLC0415
    from evaluation.config import EvaluationConfig, load_config  # noqa: PLC0415

    try:
        options = shlex.split(arguments.eval_options)
    except ValueError as error:
        raise UserError(f"--eval-options {arguments.eval_options!r} cannot be read: {error}") from error
    parsed = build_parser().parse_args(["evaluate", *options])
    chosen = {"datasets": tuple(arguments.eval)} if arguments.eval else {}
    load_config(
        parsed.config,
        {"model": "of a stage", "output_dir": Path(), **chosen, **given_options(parsed, EvaluationConfig)},
    )
    return tuple(options)


def _submit(arguments: argparse.Namespace, chain: "Chain", site: "Site") -> int:
    """Hand the chain to SLURM, a job for each stage and one between two."""
    from deepscaler.output.terminal import PlainConsole  # noqa: PLC0415
    from deepscaler.system.errors import UserError  # noqa: PLC0415
    from slurm.submit.chain import plan_chain  # noqa: PLC0415
    from slurm.submit.launch import launch  # noqa: PLC0415

    if arguments.only:
        raise UserError("--only is what the jobs of --on slurm use themselves; leave one of the two out")
    command = ["run", *arguments.recipes, "--output-dir", str(chain.root), *passed_on(arguments)]
    command += [part for setting in arguments.set for part in ("--set", setting)]
    command += ["--eval", *arguments.eval] if arguments.eval else []
    command += [f"--eval-options={arguments.eval_options}"] if arguments.eval_options else []
    command += ["--gate"] if arguments.gate else []
    plan = plan_chain(chain, command, arguments.device)
    return launch(plan, site, chain.root, PlainConsole(), dry_run=arguments.dry_run)
