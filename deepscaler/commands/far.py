"""Turns a command into a job on machines that do not see this one's files, and collects the files that it needs.

train mine.toml  ->  train /inputs/mine.toml --output-dir /runs/mine, with mine.toml and what it names
"""

import argparse
import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deepscaler.commands.given import command_of, evaluation_of, of_chain, passed_on
from deepscaler.data import names
from deepscaler.job import Job, evaluate_job, train_job
from deepscaler.kubernetes.render.inputs import (
    ON_VOLUMES,
    Files,
    check_model,
    datasets_by_file,
    own_files,
    packed,
    registered_by_file,
)
from deepscaler.kubernetes.render.plans import chain_job, engines_job, quickstart_job
from deepscaler.launch.chain import plan_chain
from deepscaler.launch.launcher import PlannedJob
from deepscaler.recipes.load import is_file
from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.chain import ChainOptions, build_chain
from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig


def train_far(arguments: argparse.Namespace, recipe: Recipe, folder: Path) -> PlannedJob:
    """Returns the job of `deepscaler train`. Raises UserError for what does not go along."""
    [recipe], [given], words, _, inputs = _packed(arguments, [recipe], [arguments.recipe])
    command = ("train", given, *words, "--output-dir", str(folder))
    return _planned(train_job(recipe, command, arguments.device), folder, inputs)


def chain_far(arguments: argparse.Namespace, recipes: Sequence[Recipe], folder: Path) -> list[PlannedJob]:
    """Returns the jobs of `deepscaler chain`, each stage at its own size. Raises UserError for what stays here."""
    if arguments.only:
        return [one_chain_far(arguments, recipes, folder)]
    recipes, given, _, datasets, inputs = _packed(arguments, recipes, arguments.recipes, arguments.eval)
    arguments = argparse.Namespace(**vars(arguments) | {"eval": datasets})
    is_own = bool(inputs)
    evaluation_options, config = evaluation_of(arguments)
    if any(word.startswith("--config") for word in evaluation_options):
        raise UserError("--eval-options names a file of this machine, no pod sees it: give its options one by one")
    num_gpus = min(recipe.gpus_per_node for recipe in recipes)
    # the command runs on a head without GPUs: only by a number of engines, here one on each GPU or every few,
    # does Ray find them a place on the workers
    if arguments.eval and arguments.device == config.device == "cuda" and not config.engines:
        config = replace(config, engines=max(1, num_gpus // config.tensor_parallel_size))
        evaluation_options = (*evaluation_options, "--engines", str(config.engines))
        # A copy, for the caller still needs what was typed.
        arguments = argparse.Namespace(**vars(arguments) | {"eval_options": shlex.join(evaluation_options)})
    options = ChainOptions(
        datasets=tuple(datasets),
        evaluation_options=evaluation_options,
        gate=arguments.gate,
        gate_on_doubt=arguments.gate_on_doubt,
        train_options=tuple(passed_on(arguments, changes=not is_own)),
    )
    chain = build_chain(folder, recipes, [] if is_own else arguments.set, options, given)
    plan = plan_chain(chain, command_of(chain, arguments), arguments.device)
    return [replace(planned, jobs=(_sized(planned.jobs[0], config),), inputs=inputs) for planned in plan]


def one_chain_far(arguments: argparse.Namespace, recipes: Sequence[Recipe], folder: Path) -> PlannedJob:
    """Returns a chain as one job on machines of one size. Raises UserError if its stages differ in that."""
    recipes, given, words, datasets, inputs = _packed(arguments, recipes, arguments.recipes, arguments.eval)
    arguments = argparse.Namespace(**vars(arguments) | {"eval": datasets})
    only = ("--only", *arguments.only) if arguments.only else ()
    command = ("chain", *given, *words, *of_chain(arguments), *only, "--output-dir", str(folder))
    stages = [step.partition(":")[0] for step in arguments.only]
    job = chain_job(recipes, command, datasets, arguments.device, stages)
    return _planned(job, folder, inputs)


def evaluate_far(arguments: argparse.Namespace, config: EvaluationConfig, folder: Path) -> PlannedJob:
    """Returns the job of `deepscaler evaluate`. Raises UserError for what does not go along."""
    _, _, datasets, inputs = packed([], datasets_by_file(config.datasets))
    check_model(config.tokenizer or config.model, "--tokenizer" if config.tokenizer else "--model")
    if config.api_key_env:
        raise UserError(
            f"--api-key-env {config.api_key_env}: no pod gets a variable of this machine; run it here, or --on slurm"
        )
    config = replace(config, output_dir=folder, datasets=tuple(datasets))
    if config.engine == "openai":
        return _planned(evaluate_job(config), folder, inputs)
    job = engines_job(config, num_nodes=arguments.nodes, gpus_per_node=arguments.gpus)
    return _planned(job, folder, inputs)


def quickstart_far(arguments: argparse.Namespace, folder: Path) -> PlannedJob:
    """Returns the job of `deepscaler quickstart`. Raises UserError for a model that stays here."""
    if arguments.model and Path(arguments.model).is_dir():
        raise UserError(
            f"--model {arguments.model} is a folder of this machine, no pod sees it: name a hub id, or leave it out for"
            " the model in the image"
        )
    typed = {"--model": arguments.model, "--recipe": arguments.recipe, "--engine": arguments.engine}
    # Only what was typed: all else is left to the defaults of the kit in the image.
    given = {flag: value for flag, value in typed.items() if flag.removeprefix("--") in arguments.given}
    words = [word for flag, value in given.items() for word in (flag, value)]
    return _planned(quickstart_job((*words, "--output-dir", str(folder))), folder, {})


def _packed(
    arguments: argparse.Namespace, recipes: Sequence[Recipe], given: Sequence[str], datasets: Sequence[str] = ()
) -> tuple[list[Recipe], list[str], list[str], list[str], Files]:
    """Returns recipes, their names there, the options that are passed on, data sets, and accompanying files."""
    folder = arguments.data_dir
    if folder and not str(folder).startswith(ON_VOLUMES):
        raise UserError(
            f"--data-dir {folder} is a folder of this machine, no pod sees it: name one below /runs or /cache"
        )
    # pods know no set that is registered here, so its file goes along
    recipes = list(map(registered_by_file, recipes))
    for recipe in recipes:
        check_model(recipe.model, f"recipe {recipe.name}: model")
    datasets = datasets_by_file(datasets)
    if any(map(is_file, given)) or any(map(names.is_file, datasets)) or any(map(own_files, recipes)):
        renamed, files, there, inputs = packed(recipes, datasets)
        return renamed, files, passed_on(arguments, changes=False), there, inputs
    changes = [part for setting in arguments.set for part in ("--set", setting)]
    return recipes, list(given), [*changes, *passed_on(arguments)], list(datasets), {}


def _sized(job: Job, config: EvaluationConfig) -> Job:
    """Returns a job of a chain with the machines that its steps use: those of all engines, or none for a merge."""
    if job.ray or job.image == "cpu":
        return job
    if not any(argument.endswith(":evaluate") for argument in job.arguments):
        return replace(job, gpus_per_node=0)
    per_node = job.gpus_per_node // config.tensor_parallel_size
    if not per_node:
        raise UserError(
            f"an engine with --tensor-parallel-size {config.tensor_parallel_size} does not fit a machine with"
            f" {job.gpus_per_node} GPUs, as the stages have them: give a smaller one"
        )
    return replace(job, num_nodes=math.ceil(config.engines / per_node))


def _planned(job: Job, folder: Path, inputs: Files) -> PlannedJob:
    return PlannedJob(jobs=(job,), outputs=(folder,), inputs=inputs)
