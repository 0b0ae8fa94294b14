"""`deepscaler run`: a chain of recipes, each from the merged model of the one before."""

import argparse
import shlex
import time
from pathlib import Path

from deepscaler.commands.train import add_options

HELP = "Train a chain of recipes, such as 8k 16k 24k; the same command goes on."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the stages and what happens between them."""
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="the stages in order")
    parser.add_argument("--output-dir", type=Path, help="folder of the chain (default: outputs/RECIPE-RECIPE-...)")
    parser.add_argument("--eval", nargs="+", default=[], metavar="NAME", help="benchmarks before and after each stage")
    parser.add_argument("--eval-options", default="", metavar="FLAGS", help="for `deepscaler evaluate`, as one text")
    parser.add_argument("--gate", action="store_true", help="stop where a stage is worse by more than its interval")
    parser.add_argument("--dry-run", action="store_true", help="print every command, run nothing")
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the chain."""
    from deepscaler.recipe import with_settings  # noqa: PLC0415
    from deepscaler.recipes import in_profile, recipe_named  # noqa: PLC0415
    from deepscaler.terminal import PlainConsole  # noqa: PLC0415
    from deepscaler.training.chain import ChainOptions, build_chain  # noqa: PLC0415
    from deepscaler.training.run_chain import describe_chain, run_chain  # noqa: PLC0415

    recipes = [recipe_named(name) for name in arguments.recipes]
    recipes = [with_settings(in_profile(r, arguments.profile or r.profile), arguments.set) for r in recipes]
    root = arguments.output_dir or Path("outputs", "-".join(arguments.recipes))
    options = ChainOptions(
        datasets=tuple(arguments.eval),
        evaluation_options=tuple(shlex.split(arguments.eval_options)),
        gate=arguments.gate,
        train_options=tuple(_passed_on(arguments)),
    )
    chain = build_chain(root.resolve(), recipes, arguments.set, options)
    console = PlainConsole()
    if arguments.dry_run:
        describe_chain(chain, console)
        return 0
    return run_chain(chain, console)


def _passed_on(arguments: argparse.Namespace) -> list[str]:
    """The options of `train` that were given, as flags."""
    from deepscaler.training.deadline import parse_deadline  # noqa: PLC0415

    deadline = arguments.deadline and str(int(parse_deadline(arguments.deadline, time.time())))  # one for all stages
    flags = {
        "--profile": arguments.profile,
        "--device": arguments.device,
        "--data-dir": arguments.data_dir,
        "--keep": arguments.keep,
        "--deadline": deadline,
        "--wandb": arguments.wandb,
    }
    return [text for flag, value in flags.items() if value is not None for text in (flag, str(value))]
