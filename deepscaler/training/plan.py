"""What a training would do and need, before anything is started: `deepscaler train RECIPE --dry-run`."""

import shlex
from pathlib import Path

from rich.console import Console

from deepscaler.data.prepare import parquet_path
from deepscaler.output.terminal import add_row, new_table, print_table
from deepscaler.recipes.memory import GIB, GPUS, estimate
from deepscaler.recipes.model_shape import shape_of
from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.checkpoints import PREFIX, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.system.errors import UserError
from deepscaler.system.paths import data_dir
from deepscaler.training.manifest import TrainOptions
from deepscaler.verl_plugin.overrides import RunPaths, to_arguments, to_overrides


def print_plan(recipe: Recipe, options: TrainOptions, console: Console) -> None:
    """Where the run stands, what it needs, and the command for verl (for a shell); reads only the run's folder."""
    run = RunFolder(options.run_dir.resolve())
    checkpoints = sealed(run)
    start = f"go on from step {checkpoints[0].step}" if checkpoints else "start"
    console.print(
        f"{run.root}: would {start}; {recipe.name} ({recipe.profile}) has {recipe.num_steps} steps on"
        f" {recipe.num_nodes} x {recipe.gpus_per_node} {'GPUs' if options.device == 'cuda' else 'CPU ranks'}.",
        soft_wrap=True,
    )
    if options.device == "cuda":
        print_estimates(recipe, console)
    data = options.data_dir or data_dir()
    same_ranks = checkpoints and checkpoints[0].world_size == recipe.world_size
    paths = RunPaths(
        model=recipe.model,
        train_file=parquet_path(recipe.train_dataset, data),
        validation_file=parquet_path(recipe.validation_dataset, data),
        run_dir=run.root,
        checkpoint_dir=run.attempt(len(run.attempts()) + 1).checkpoints,
        resume_from=Path(run.checkpoints, f"{PREFIX}{checkpoints[0].verl_step}") if same_ranks else None,
        wandb=options.wandb != "off",
    )
    arguments = to_arguments(to_overrides(recipe, paths, options.device))
    console.print()
    console.print(" \\\n    ".join(["python -m verl.trainer.main_ppo", *map(shlex.quote, arguments)]), soft_wrap=True)


def print_estimates(recipe: Recipe, console: Console) -> None:
    """What each kind of GPU would have to hold, and warnings for what cannot fit."""
    try:
        shape = shape_of(recipe.model)
    except UserError as reason:
        console.print(f"Note: no estimate: {reason}", style="yellow", soft_wrap=True)
        return
    estimates = [estimate(recipe, shape, gpu) for gpu in GPUS]
    table = new_table(["estimate for one GPU, GiB", *GPUS])
    for label, value in (
        ("weights, gradients, optimiser", "state"),
        ("activations", "activations"),
        ("logits", "logits"),
        ("= peak of an update", "training"),
        ("rollout engine: weights", "engine_weights"),
        ("rollout engine: cache", "kv_cache"),
    ):
        add_row(table, [label, *(f"{getattr(one, value) / GIB:.1f}" for one in estimates)])
    for label, value in (
        ("full-length sequences at once", "sequences_at_once"),
        ("responses per engine and step", "responses_per_engine"),
        ("optimiser updates per step", "updates_per_step"),
    ):
        add_row(table, [label, *(f"{getattr(one, value):,}" for one in estimates)])
    print_table(console, "Memory and batches", table)
    for one in estimates:
        for warning in one.warnings:
            console.print(f"Note: {warning}", style="yellow", soft_wrap=True)
