"""`deepscaler chain`: recipes one after another, each from the merged model of the one before."""

import argparse
import shlex
from pathlib import Path

from deepscaler.commands.counting import counts_with
from deepscaler.commands.launcher import HERE, add_dry_run, site_of, submit
from deepscaler.commands.parser import Parser, folder_to_write, offer, parse
from deepscaler.commands.train import add_options, copied_recipe, folders_read, passed_on
from deepscaler.data.sources import SOURCES
from deepscaler.output.terminal import PlainConsole
from deepscaler.recipes.load import absolute, load_recipe
from deepscaler.recipes.published import RECIPES
from deepscaler.runs.chain import Chain, ChainOptions, build_chain
from deepscaler.system.errors import UserError
from deepscaler.system.flags import given_options
from deepscaler.system.options import flag
from deepscaler.training.run_chain import describe_chain, run_chain
from evaluation.config import EvaluationConfig, load_config
from slurm.site import Site
from slurm.submit.chain import plan_chain

OF_THE_CHAIN = frozenset(
    ("model", "output_dir", "datasets", "revision", "shard", "gather", "dry_run", "on", "site", "nodes", "gpus")
)
"""Options of `deepscaler evaluate` that do not depend on the user within a chain."""

EXAMPLES = (
    "deepscaler chain 8k 16k 24k --eval aime --gate --dry-run",
    "deepscaler chain 8k 16k --eval aime --eval-options '--engines 8'",
)


def configure(parser: Parser) -> None:
    """Adds the stages and what happens between them."""
    recipes = parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="the stages in order")
    offer(recipes, RECIPES, files="toml")
    parser.add_argument(
        "--output-dir",
        type=folder_to_write,
        metavar="DIR",
        help="folder of the chain (default: outputs/RECIPE-...)",
    )
    add_dry_run(parser, "print every command, run nothing")
    only = parser.add_argument(
        "--only", nargs="+", default=[], metavar="STEP", help="only these steps: 16k:train, 8k:merge, 8k:evaluate"
    )
    counts_with(only, on=HERE)  # the jobs of --on slurm are given their steps
    between = parser.add_argument_group("between the stages")
    sets = between.add_argument(
        "--eval", nargs="+", default=[], metavar="NAME", help="benchmarks to evaluate before and after each stage"
    )
    offer(sets, SOURCES)
    options = between.add_argument(
        "--eval-options", default="", metavar="FLAGS", help="options of `deepscaler evaluate`, as one text"
    )
    gate = between.add_argument(
        "--gate", action="store_true", help="stop where a stage is worse by more than its interval"
    )
    for action in (options, gate):
        counts_with(action, "--eval")
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the chain."""
    recipes = [load_recipe(name, arguments.profile, arguments.set) for name in arguments.recipes]
    root = arguments.output_dir or Path("outputs", "-".join(recipe.name for recipe in recipes))
    options = ChainOptions(
        datasets=tuple(arguments.eval),
        evaluation_options=_evaluation_options(arguments),
        gate=arguments.gate,
        train_options=tuple(passed_on(arguments)),
    )
    given = [absolute(text) for text in arguments.recipes]
    chain = build_chain(root.resolve(), recipes, arguments.set, options, given)
    if site := site_of(arguments):
        return _submit(arguments, chain, site)
    if arguments.dry_run:
        describe_chain(chain, PlainConsole(), arguments.only)
        return 0
    return run_chain(chain, PlainConsole(), arguments.only)


def _evaluation_options(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Returns those for `deepscaler evaluate`, read by its own parser. Raises UserError or exits with 2."""
    try:
        options = shlex.split(arguments.eval_options)
    except ValueError as error:
        raise UserError(f"--eval-options {arguments.eval_options!r} cannot be read: {error}") from error
    if {"-h", "--help"} & set(options):
        raise UserError("--eval-options takes no --help: see deepscaler evaluate --help")
    parsed = parse(["evaluate", *options])
    if own := sorted(OF_THE_CHAIN & parsed.given):
        raise UserError(f"--eval-options must not hold {flag(own[0])}: the chain decides it for each evaluation")
    chosen = {"datasets": tuple(arguments.eval)} if arguments.eval else {}
    load_config(
        parsed.config,
        {"model": "of a stage", "output_dir": Path(), **chosen, **given_options(parsed, EvaluationConfig)},
    )
    return tuple(options)


def _submit(arguments: argparse.Namespace, chain: Chain, site: Site) -> int:
    """Hands the chain to SLURM, a job for each stage and one between two."""
    given = [copied_recipe(text, chain.root, dry_run=bool(arguments.dry_run)) for text in arguments.recipes]
    command = ["chain", *given, "--output-dir", str(chain.root), *passed_on(arguments)]
    command += [part for setting in arguments.set for part in ("--set", setting)]
    command += ["--eval", *arguments.eval] if arguments.eval else []
    command += [f"--eval-options={arguments.eval_options}"] if arguments.eval_options else []
    command += ["--gate"] if arguments.gate else []
    reads = folders_read(arguments, [stage.recipe for stage in chain.stages if stage.recipe])
    return submit(arguments, plan_chain(chain, command, arguments.device, reads), site, chain.root)
