"""`deepscaler train`: one recipe, with verl, resumable."""

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from deepscaler.commands.counting import counts_with
from deepscaler.commands.given import passed_on
from deepscaler.commands.launcher import add_dry_run, add_place, launcher_for, submit
from deepscaler.commands.parser import Parser, folder_to_write, offer
from deepscaler.commands.recipe import KEEP, add_changes, check_further, load
from deepscaler.data.compose import sources_folder
from deepscaler.data.names import look_in
from deepscaler.job import train_job
from deepscaler.launch.launcher import PlannedJob
from deepscaler.mirror.url import check_writable
from deepscaler.output.terminal import PlainConsole
from deepscaler.recipes import write
from deepscaler.recipes.load import is_file
from deepscaler.recipes.own_files import files_of
from deepscaler.recipes.published import NAMES
from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.phases import CEILING, FLOOR
from deepscaler.runs.reward_file import edited_note, submit_copy
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_text
from deepscaler.system.flags import number, whole
from deepscaler.system.option import flag
from deepscaler.system.options import options_of
from deepscaler.training.deadline import parse_deadline
from deepscaler.training.forecast import keep_first_estimate
from deepscaler.training.manifest import TrainOptions, check_recipe, take_data
from deepscaler.training.plan import print_plan
from deepscaler.training.trainer import train

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
        NAMES,
        files="toml",
    )
    parser.add_argument(
        "--output-dir", type=folder_to_write, metavar="DIR", help="folder of the run (default: outputs/RECIPE)"
    )
    add_dry_run(parser, "print memory needs and the exact command, run nothing")
    add_options(parser)


def add_options(parser: Parser) -> None:
    """Adds what `train` and `chain` have in common."""
    recipe = parser.add_argument_group("the recipe")
    add_changes(
        recipe,
        profile_help="faithful to the paper, or fast: with what verl has gained since (default: the recipe's own)",
    )
    recipe.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of prepared data (default: <cache>/data)")
    training = parser.add_argument_group("the training")
    training.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="device to train on (default: %(default)s)"
    )
    for name, minimum in KEEP.items():
        training.add_argument(
            flag(name),
            type=whole(minimum),
            metavar="N",
            help=f"{options_of(Recipe)[name].help} (default: the recipe's, mostly {options_of(Recipe)[name].default})",
        )
    training.add_argument(
        "--mirror",
        type=_bucket,
        metavar="URL",
        help="bucket, or repository of the hub, to copy the run to and to resume it from: s3://BUCKET/PREFIX, gs://, az://,"
        " abfs://, file://, hf://ORG/NAME/PREFIX, hf://datasets/ORG/NAME/PREFIX",
    )
    bandwidth = training.add_argument(
        "--mirror-bandwidth",
        type=number(0),
        metavar="MB",
        help="most megabytes to upload per second (default: no limit)",
    )
    counts_with(bandwidth, "--mirror")
    training.add_argument(
        "--deadline",
        type=_deadline,
        metavar="TIME",
        help="moment before which to save and stop: a time from now (3h50m), or Unix seconds ($SLURM_JOB_END_TIME)",
    )
    training.add_argument(
        "--wandb",
        choices=("off", "offline", "online"),
        default="off",
        help="log to Weights & Biases (default: %(default)s)",
    )
    training.add_argument(
        "--skip-doctor", action="store_true", help="start without the checks of `deepscaler doctor --fast`"
    )
    training.add_argument(
        "--on-stall",
        choices=("report", "restart"),
        help="action if training stalls: report who and why, or also end the attempt and resume"
        " (default: restart on a cluster, report on this machine)",
    )
    training.add_argument(
        "--stall-after",
        type=number(1),
        default=FLOOR,
        metavar="SECONDS",
        help="seconds without progress that are always allowed (default: %(default).0f)",
    )
    training.add_argument(
        "--stall-ceiling",
        type=number(1),
        default=CEILING,
        metavar="SECONDS",
        help="seconds without progress that are allowed in a phase that is new to the run (default: %(default).0f)",
    )
    add_place(parser)


def run(arguments: argparse.Namespace) -> int:
    """Trains, or says what would be trained."""
    # before the recipe is loaded, which looks its sets up in these folders
    look_in(arguments.data_dir, sources_folder(arguments.output_dir) if arguments.output_dir else None)
    recipe = load(arguments.recipe, arguments, arguments.device)
    launcher, folder = launcher_for(arguments), arguments.output_dir or Path("outputs", recipe.name)
    if not launcher.sees_files:
        from deepscaler.commands.far import train_far  # noqa: PLC0415  no other place needs it

        return submit(arguments, [train_far(arguments, recipe, launcher.folder_there(folder))], launcher, folder)
    options, console = options_of_run(arguments, recipe), PlainConsole()
    check_recipe(RunFolder(folder), recipe, options)
    check_further([recipe], arguments.device, console)
    if arguments.on != "local":
        if not arguments.dry_run:
            keep_first_estimate(RunFolder(folder), recipe, arguments.device, launcher.gpu)
        return submit(arguments, [_submitted(arguments, recipe, folder.absolute())], launcher, folder.absolute())
    here = partial(_train_here, recipe, options, dry_run=bool(arguments.dry_run))
    job = train_job(recipe, ("train", arguments.recipe), arguments.device)
    return submit(arguments, [PlannedJob(jobs=(job,), outputs=(folder,), here=here)], launcher, folder)


def _train_here(recipe: Recipe, options: TrainOptions, *, dry_run: bool) -> int:
    """Trains on this machine, or the Ray cluster that it is part of."""
    console = PlainConsole()
    if dry_run:
        print_plan(recipe, options, console)
        return 0
    return train(recipe, options, console)


def options_of_run(arguments: argparse.Namespace, recipe: Recipe) -> TrainOptions:
    """Returns the options of a run that its recipe does not have."""
    return TrainOptions(
        run_dir=arguments.output_dir or Path("outputs", recipe.name),
        device=arguments.device,
        data_dir=arguments.data_dir,
        mirror=arguments.mirror or "",
        mirror_bandwidth=arguments.mirror_bandwidth or 0.0,
        deadline=parse_deadline(arguments.deadline, time.time()) if arguments.deadline else None,
        wandb=arguments.wandb,
        skip_doctor=arguments.skip_doctor,
        # empty stands for the default, which depends on where the training runs
        on_stall=arguments.on_stall or "",
        stall_after=arguments.stall_after,
        stall_ceiling=arguments.stall_ceiling,
    )


def is_ones_own(given: str, recipe: Recipe) -> bool:
    """Returns whether a recipe is a file, or names files: another machine may see none of them."""
    return is_file(given) or bool(files_of(recipe))


def copied_recipe(recipe: Recipe, folder: Path, *, dry_run: bool) -> str:
    """Writes a recipe into a run's folder, and returns the copy's path."""
    # a container sees that folder, and a job that starts again reads what was submitted, whatever became of the
    # file
    file, text = folder / "recipes" / f"{recipe.name}.toml", write.whole(recipe)
    if not dry_run and not (file.is_file() and file.read_text(encoding="utf-8") == text):
        write_text(file, text)
    return str(file)


def folders_read(arguments: argparse.Namespace, recipes: Sequence[Recipe]) -> tuple[str, ...]:
    """Returns the folders that a job reads beside its own: a container has to see them."""
    folders = [Path(recipe.model) for recipe in recipes] + ([arguments.data_dir] if arguments.data_dir else [])
    # a model may also be a name on the hub, which is not a folder
    return tuple(dict.fromkeys(str(folder.absolute()) for folder in folders if folder.is_dir()))


def _submitted(arguments: argparse.Namespace, recipe: Recipe, folder: Path) -> PlannedJob:
    """Returns the job, after all that it reads was copied into the run's folder."""
    run, function = RunFolder(folder), recipe.reward.function
    console, dry_run = PlainConsole(), bool(arguments.dry_run)
    for line in take_data(recipe, folder, arguments.data_dir, dry_run=dry_run):
        console.print(f"Data: {line}.", soft_wrap=True)
    if run.is_run and (note := edited_note(run, function)):
        console.print(f"Note: {note}.", soft_wrap=True)
    given, settings = arguments.recipe, arguments.set
    if own := is_ones_own(given, recipe):
        # The copy has the changes of --set in it.
        given, settings = copied_recipe(recipe, folder, dry_run=dry_run), []
    if not dry_run:
        submit_copy(run, function)
    changes = [part for setting in settings for part in ("--set", setting)]
    command = ["train", given, "--output-dir", str(folder), *changes, *passed_on(arguments, changes=not own)]
    job = train_job(recipe, command, arguments.device, reads=folders_read(arguments, [recipe]))
    return PlannedJob(jobs=(job,), outputs=(folder,))


def _bucket(text: str) -> str:
    """Reads the URL of a place in a bucket that a run can be copied to."""
    try:
        return check_writable(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _deadline(text: str) -> str:
    """Reads a deadline as far as its form goes: a job counts it from its own start."""
    try:
        parse_deadline(text, time.time())
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
