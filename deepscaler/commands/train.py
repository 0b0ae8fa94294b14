"""`deepscaler train`: one recipe, with verl, resumable."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from deepscaler.commands.launcher import add_dry_run, add_place, site_of, submit
from deepscaler.commands.parser import Parser, folder_to_write, offer
from deepscaler.job import train_job
from deepscaler.output.terminal import PlainConsole
from deepscaler.recipes.load import is_file, load_recipe, recipe_named, to_toml
from deepscaler.recipes.published import RECIPES
from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.folder import RunFolder
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_text
from deepscaler.system.flags import whole
from deepscaler.training.deadline import parse_deadline
from deepscaler.training.manifest import TrainOptions, check_recipe
from deepscaler.training.plan import print_plan
from deepscaler.training.trainer import train
from slurm.site import Site
from slurm.submit.launch import PlannedJob

EXAMPLES = (
    "deepscaler train 8k --dry-run",
    "deepscaler train 16k --set num_nodes=2 --on slurm --site site.toml",
)


def configure(parser: Parser) -> None:
    """Adds the recipe, its changes, and where it runs."""
    offer(
        parser.add_argument(
            "recipe", metavar="RECIPE", help="published recipe (see `deepscaler recipes`) or a TOML file of your own"
        ),
        RECIPES,
    )
    parser.add_argument(
        "--output-dir", type=folder_to_write, metavar="DIR", help="folder of the run (default: outputs/RECIPE)"
    )
    add_dry_run(parser, "print memory needs and the exact command, run nothing")
    add_options(parser)


def add_options(parser: Parser) -> None:
    """Adds what `train` and `chain` have in common."""
    recipe = parser.add_argument_group("the recipe")
    recipe.add_argument(
        "--profile",
        choices=("faithful", "fast"),
        default=None,
        help="faithful to the paper, or fast: with what verl has gained since (default: the recipe's own)",
    )
    recipe.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the recipe; may be repeated",
    )
    recipe.add_argument("--data-dir", type=Path, metavar="DIR", help="prepared data (default: <cache>/data)")
    training = parser.add_argument_group("the training")
    training.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="what to train on (default: %(default)s)"
    )
    training.add_argument(
        "--keep", type=whole(1), default=2, metavar="N", help="checkpoints to keep (default: %(default)s)"
    )
    training.add_argument(
        "--deadline",
        type=_deadline,
        metavar="TIME",
        help="save and stop before: a time from now (3h50m), or Unix seconds ($SLURM_JOB_END_TIME)",
    )
    training.add_argument(
        "--wandb",
        choices=("off", "offline", "online"),
        default="off",
        help="log to Weights & Biases (default: %(default)s)",
    )
    add_place(parser)


def passed_on(arguments: argparse.Namespace) -> list[str]:
    """Returns the options of `add_options` that were typed, save `--set`; one deadline for all that follow."""
    deadline = arguments.deadline
    if deadline and arguments.on == "local":
        deadline = str(int(parse_deadline(deadline, time.time())))
    flags = {
        "profile": arguments.profile,
        "device": arguments.device,
        "data_dir": arguments.data_dir and arguments.data_dir.absolute(),
        "keep": arguments.keep,
        "deadline": deadline,
        "wandb": arguments.wandb,
    }
    typed = [(f"--{name.replace('_', '-')}", str(value)) for name, value in flags.items() if name in arguments.given]
    return [word for pair in typed for word in pair]


def run(arguments: argparse.Namespace) -> int:
    """Trains, or says what would be trained."""
    recipe = load_recipe(arguments.recipe, arguments.profile, arguments.set)
    if site := site_of(arguments):
        return _submit(arguments, recipe, site)
    options = options_of_run(arguments, recipe)
    if arguments.dry_run:
        print_plan(recipe, options, PlainConsole())
        return 0
    return train(recipe, options, PlainConsole())


def options_of_run(arguments: argparse.Namespace, recipe: Recipe) -> TrainOptions:
    """Returns the options of a run that its recipe does not have."""
    return TrainOptions(
        run_dir=arguments.output_dir or Path("outputs", recipe.name),
        device=arguments.device,
        data_dir=arguments.data_dir,
        keep_checkpoints=arguments.keep,
        deadline=parse_deadline(arguments.deadline, time.time()) if arguments.deadline else None,
        wandb=arguments.wandb,
    )


def copied_recipe(given: str, folder: Path, *, dry_run: bool) -> str:
    """Returns what a job is given for a recipe: its name, or a copy of its file in the run's folder.

    A container sees that folder, and a job that starts again reads what was submitted, whatever became of the file.
    """
    if not is_file(given):
        return given
    recipe = recipe_named(given)
    copy = folder / "recipes" / f"{recipe.name}.toml"
    if not dry_run:
        write_text(copy, to_toml(recipe))
    return str(copy)


def folders_read(arguments: argparse.Namespace, recipes: Sequence[Recipe]) -> tuple[str, ...]:
    """Returns the folders that a job reads beside its own: a container has to see them."""
    folders = [Path(recipe.model) for recipe in recipes] + ([arguments.data_dir] if arguments.data_dir else [])
    return tuple(dict.fromkeys(str(folder.absolute()) for folder in folders if folder.is_dir()))


def _submit(arguments: argparse.Namespace, recipe: Recipe, site: Site) -> int:
    """Hands the training to SLURM."""
    folder = (arguments.output_dir or Path("outputs", recipe.name)).absolute()
    check_recipe(RunFolder(folder), recipe, options_of_run(arguments, recipe))
    settings = [part for setting in arguments.set for part in ("--set", setting)]
    given = copied_recipe(arguments.recipe, folder, dry_run=bool(arguments.dry_run))
    command = ["train", given, "--output-dir", str(folder), *settings, *passed_on(arguments)]
    job = train_job(recipe, command, arguments.device, reads=folders_read(arguments, [recipe]))
    return submit(arguments, [PlannedJob(jobs=(job,), outputs=(folder,))], site, folder)


def _deadline(text: str) -> str:
    """Reads a deadline as far as its form goes: a job counts it from its own start."""
    try:
        parse_deadline(text, time.time())
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
