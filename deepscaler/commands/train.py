"""`deepscaler train`: one recipe, with verl, resumable."""

import argparse
import time
from pathlib import Path

HELP = "Train a recipe with verl; the same command goes on."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the recipe, its changes, and where it runs."""
    parser.add_argument("recipe", metavar="RECIPE", help="see `deepscaler recipes`")
    parser.add_argument("--output-dir", type=Path, help="folder of the run (default: outputs/RECIPE)")
    parser.add_argument("--dry-run", action="store_true", help="print memory needs and the exact command, run nothing")
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `train` and `run` have in common."""
    parser.add_argument("--profile", choices=("faithful", "fast"), default=None, help="default: the recipe's own")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field of the recipe"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default: %(default)s")
    parser.add_argument("--data-dir", type=Path, help="prepared data; default <cache>/data")
    parser.add_argument("--keep", type=int, default=2, metavar="N", help="checkpoints to keep (default: %(default)s)")
    parser.add_argument(
        "--deadline", help="save and stop before: a time from now (3h50m), or Unix seconds ($SLURM_JOB_END_TIME)"
    )
    parser.add_argument("--wandb", choices=("off", "offline", "online"), default="off", help="default: %(default)s")


def run(arguments: argparse.Namespace) -> int:
    """Train, or say what would be trained."""
    from deepscaler.errors import UserError  # noqa: PLC0415
    from deepscaler.recipe import with_settings  # noqa: PLC0415
    from deepscaler.recipes import in_profile, recipe_named  # noqa: PLC0415
    from deepscaler.terminal import PlainConsole  # noqa: PLC0415
    from deepscaler.training.deadline import parse_deadline  # noqa: PLC0415
    from deepscaler.training.options import TrainOptions  # noqa: PLC0415

    recipe = recipe_named(arguments.recipe)
    recipe = with_settings(in_profile(recipe, arguments.profile or recipe.profile), arguments.set)
    if arguments.keep < 1:
        raise UserError(f"--keep {arguments.keep} must be at least 1: a run without a checkpoint cannot go on")
    options = TrainOptions(
        run_dir=arguments.output_dir or Path("outputs", recipe.name),
        device=arguments.device,
        data_dir=arguments.data_dir,
        keep_checkpoints=arguments.keep,
        deadline=parse_deadline(arguments.deadline, time.time()) if arguments.deadline else None,
        wandb=arguments.wandb,
    )
    if arguments.dry_run:
        from deepscaler.training.plan import print_plan  # noqa: PLC0415

        print_plan(recipe, options, PlainConsole())
        return 0
    from deepscaler.training.trainer import train  # noqa: PLC0415

    return train(recipe, options, PlainConsole())
