"""`deepscaler train`: one recipe, with verl, resumable."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deepscaler.commands.launcher import add_place, site_of

if TYPE_CHECKING:
    from deepscaler.recipes.recipe import Recipe
    from slurm.site import Site

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
    add_place(parser)


def passed_on(arguments: argparse.Namespace) -> list[str]:
    """The options of `add_options` that were given but for `--set`, as flags; one deadline for all that follow."""
    from deepscaler.training.deadline import parse_deadline  # noqa: PLC0415

    deadline = arguments.deadline
    if deadline and arguments.on == "local":
        deadline = str(int(parse_deadline(deadline, time.time())))
    flags = {
        "--profile": arguments.profile,
        "--device": arguments.device,
        "--data-dir": arguments.data_dir and arguments.data_dir.absolute(),
        "--keep": arguments.keep,
        "--deadline": deadline,
        "--wandb": arguments.wandb,
    }
    return [text for flag, value in flags.items() if value is not None for text in (flag, str(value))]


def run(arguments: argparse.Namespace) -> int:
    """Train, or say what would be trained."""
    from deepscaler.output.terminal import PlainConsole  # noqa: PLC0415
    from deepscaler.recipes.load import load_recipe  # noqa: PLC0415
    from deepscaler.system.errors import UserError  # noqa: PLC0415
    from deepscaler.training.deadline import parse_deadline  # noqa: PLC0415
    from deepscaler.training.manifest import TrainOptions  # noqa: PLC0415

    recipe = load_recipe(arguments.recipe, arguments.profile, arguments.set)
    if arguments.keep < 1:
        raise UserError(f"--keep {arguments.keep} must be at least 1: a run without a checkpoint cannot go on")
    if site := site_of(arguments):
        return _submit(arguments, recipe, site)
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


def _submit(arguments: argparse.Namespace, recipe: "Recipe", site: "Site") -> int:
    """Hand the training to SLURM."""
    from deepscaler.job import train_job  # noqa: PLC0415
    from deepscaler.output.terminal import PlainConsole  # noqa: PLC0415
    from slurm.submit.launch import PlannedJob, launch  # noqa: PLC0415

    folder = (arguments.output_dir or Path("outputs", recipe.name)).absolute()
    settings = [part for setting in arguments.set for part in ("--set", setting)]
    command = ["train", recipe.name, "--output-dir", str(folder), *settings, *passed_on(arguments)]
    job = train_job(recipe, command, arguments.device)
    return launch([PlannedJob(jobs=(job,), outputs=(folder,))], site, folder, PlainConsole(), dry_run=arguments.dry_run)
