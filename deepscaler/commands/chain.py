"""`deepscaler chain`: recipes one after another, each from the merged model of the one before."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from deepscaler.commands.counting import counts_with
from deepscaler.commands.given import command_of, evaluation_of, passed_on
from deepscaler.commands.launcher import add_dry_run, launcher_for, submit
from deepscaler.commands.parser import Parser, folder_to_write, offer, parse
from deepscaler.commands.recipe import check_further, load
from deepscaler.commands.train import (
    add_options,
    copied_recipe,
    folders_read,
    is_ones_own,
    options_of_run,
)
from deepscaler.data.compose import sources_folder
from deepscaler.data.names import KNOWN, look_in
from deepscaler.data.names import absolute as absolute_name
from deepscaler.job import Job
from deepscaler.launch.chain import Outcome, outcome_of, plan_chain
from deepscaler.launch.launcher import PlannedJob
from deepscaler.output.terminal import PlainConsole
from deepscaler.recipes.load import absolute, load_recipe
from deepscaler.recipes.published import NAMES
from deepscaler.runs.chain import Chain, ChainOptions, build_chain, check_state
from deepscaler.runs.reward_file import check_called, edited_note, keep_copy, submit_copy
from deepscaler.training.forecast import keep_first_estimate
from deepscaler.training.manifest import check_recipe, take_data
from deepscaler.training.run_chain import chosen_steps, describe_chain, run_chain
from evaluation.inputs import keep_datasets

EXAMPLES = (
    "deepscaler chain 8k 16k 24k --eval aime --gate --dry-run",
    "deepscaler chain 8k 16k --eval aime --eval-options '--engines 8'",
)


def configure(parser: Parser) -> None:
    """Adds the stages and what happens between them."""
    recipes = parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="recipes of the stages, in order")
    offer(recipes, NAMES, files="toml")
    parser.add_argument(
        "--output-dir",
        type=folder_to_write,
        metavar="DIR",
        help="folder of the chain (default: outputs/RECIPE-...)",
    )
    add_dry_run(parser, "print every command, run nothing")
    only = parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="STEP",
        help="run only these steps, such as 8k:merge 8k:evaluate 16k:train",
    )
    counts_with(only, on=("local", "k8s"))  # a cluster's jobs are given their steps; `render` presets k8s
    between = parser.add_argument_group("between the stages")
    sets = between.add_argument(
        "--eval", nargs="+", default=[], metavar="NAME", help="benchmarks to evaluate before and after each stage"
    )
    offer(sets, KNOWN)
    options = between.add_argument(
        "--eval-options",
        default="",
        metavar="FLAGS",
        help="options of `deepscaler evaluate` for these evaluations, as one quoted text",
    )
    gate = between.add_argument(
        "--gate",
        action="store_true",
        help="stop the chain after a stage that is worse than the one before (paired test, 5 %%)",
    )
    on_doubt = between.add_argument(
        "--gate-on-doubt",
        choices=("stop", "go-on"),
        default="go-on",
        help="action if no drop is shown, but one of more than 2 points is not ruled out either (default: go-on)",
    )
    for action in (options, gate):
        counts_with(action, "--eval")
    counts_with(on_doubt, "--gate")
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the chain."""
    # the folders of stages, 0-base and 1-8k, hold copies of sets, and the recipes may name these
    begun = arguments.output_dir.glob("[0-9]*-*") if arguments.output_dir else ()
    look_in(arguments.data_dir, *map(sources_folder, begun))
    recipes = [load(name, arguments, arguments.device) for name in arguments.recipes]
    # Resolved, since the copies of the recipes below it are compared with what was typed.
    root = (arguments.output_dir or Path("outputs", "-".join(recipe.name for recipe in recipes))).resolve()
    launcher, console = launcher_for(arguments), PlainConsole()
    evaluation_options = evaluation_options_of(arguments)
    if not launcher.sees_files:
        from deepscaler.commands.far import chain_far  # noqa: PLC0415  no other place needs it

        check_further(recipes, arguments.device, console)
        return submit(arguments, chain_far(arguments, recipes, launcher.folder_there(root)), launcher, root)
    given, settings = [absolute(text) for text in arguments.recipes], arguments.set
    check_further(recipes, arguments.device, console)
    copies = [copied_recipe(recipe, root, dry_run=True) for recipe in recipes]
    is_job = given == copies  # of a submitted chain: what it needs is there, and the user's files may not be
    if own := any(map(is_ones_own, given, recipes)):
        # The copies have the changes of --set in them.
        given, settings = copies, []
    options = ChainOptions(
        datasets=tuple(absolute_name(name, Path.cwd()) for name in arguments.eval),
        evaluation_options=evaluation_options,
        gate=arguments.gate,
        gate_on_doubt=arguments.gate_on_doubt,
        train_options=tuple(passed_on(arguments, changes=not own)),
    )
    chain = build_chain(root, recipes, settings, options, given)
    if not is_job:
        _take_along(chain, arguments, own=own, submits=arguments.on != "local", console=console)
    if arguments.on == "local":
        here = partial(_chain_here, chain, arguments.only, dry_run=bool(arguments.dry_run))
        job = Job(name="chain", arguments=("chain", *given))
        return submit(arguments, [PlannedJob(jobs=(job,), outputs=(root,), here=here)], launcher, root)
    reads = folders_read(arguments, [stage.recipe for stage in chain.stages if stage.recipe])
    plan = plan_chain(chain, command_of(chain, arguments), arguments.device, reads)
    if not arguments.dry_run:
        for stage in chain.stages:
            if stage.recipe:
                keep_first_estimate(stage.run, stage.recipe, arguments.device, launcher.gpu)
    return submit(arguments, plan, launcher, root)


def progress_of(words: Sequence[str]) -> tuple[Outcome, str]:
    """Returns how far the steps of a job's command are by the chain's folder, and what a gate says that stops it."""
    arguments = parse(list(words))
    recipes = [load_recipe(name, arguments.profile, arguments.set) for name in arguments.recipes]
    # Only what decides how far steps are: the pod that asks neither trains nor evaluates.
    options = ChainOptions(datasets=tuple(arguments.eval), gate=arguments.gate, gate_on_doubt=arguments.gate_on_doubt)
    chain = build_chain(arguments.output_dir, recipes, arguments.set, options, arguments.recipes)
    return outcome_of(chain, chosen_steps(chain, arguments.only))


def _chain_here(chain: Chain, only: Sequence[str], *, dry_run: bool) -> int:
    """Runs the steps that are left on this machine, or the Ray cluster that it is part of."""
    if dry_run:
        describe_chain(chain, PlainConsole(), only)
        return 0
    return run_chain(chain, PlainConsole(), only)


def _take_along(chain: Chain, arguments: argparse.Namespace, *, own: bool, submits: bool, console: Console) -> None:
    """Takes the recipes and what they name into the chain's folders: whatever becomes of the files, stages train them.

    Raises UserError if a stage has begun with another recipe.
    """
    dry_run, data_dir = bool(arguments.dry_run), arguments.data_dir
    stages = [(stage, stage.recipe) for stage in chain.stages if stage.recipe]
    if own:
        for stage, recipe in stages:
            # All stages before the first file is written: a refusal of the third must leave nothing behind.
            check_recipe(stage.run, recipe, options_of_run(arguments, recipe))
    if own or submits:
        said = [take_data(recipe, stage.folder, data_dir, dry_run=dry_run) for stage, recipe in stages]
        # Stages often share a set, and what is said of it is said once.
        for line in dict.fromkeys(line for lines in said for line in lines):
            console.print(f"Data: {line}.", soft_wrap=True)
    if own:
        for _, recipe in stages:
            copied_recipe(recipe, chain.root, dry_run=dry_run)
    if submits and not dry_run:
        for one in chain.stages:
            keep_datasets(chain.options.datasets, one.evaluation, data_dir)
    _keep_reward_files(chain, console, write=not dry_run)


def _keep_reward_files(chain: Chain, console: Console, *, write: bool) -> None:
    """Checks the reward file of each stage, and copies it before the first begins; says which was edited since.

    Raises UserError.
    """
    functions = [(stage.run, stage.recipe.reward.function) for stage in chain.stages if stage.recipe]
    for run, function in functions:
        check_called(run, function)
    begun = any(run.is_run for run, _ in functions)
    for note in filter(None, (edited_note(run, function) for run, function in functions if begun)):
        console.print(f"Note: {note}.", soft_wrap=True)
    if write and any(function for _, function in functions):
        check_state(chain)
        for run, function in functions:
            if function:
                keep_copy(run, function) if begun else submit_copy(run, function)


def evaluation_options_of(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Returns those for `deepscaler evaluate`, read by its own parser. Raises UserError or exits with 2."""
    return evaluation_of(arguments)[0]
