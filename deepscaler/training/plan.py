"""Shows what a training would do and need, before anything starts: `deepscaler train RECIPE --dry-run`."""

import shlex

from rich.console import Console

from deepscaler.mirror.fetch import describe_mirror
from deepscaler.output.terminal import add_row, new_table, print_table
from deepscaler.recipes.memory import GIB, GPUS, estimate
from deepscaler.recipes.model_shape import shape_of
from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.checkpoints import sealed, unreadable
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.reward_file import edited_note
from deepscaler.system.errors import UserError
from deepscaler.training.manifest import TrainOptions, check_recipe, find_inputs
from deepscaler.training.resharding.reshard import plan_copy
from deepscaler.training.room import print_room
from deepscaler.training.start import Start

NUM_WORDS = 4
"""Words of the command before its overrides: python -P -m deepscaler.verl_plugin.main."""


def print_plan(recipe: Recipe, options: TrainOptions, console: Console) -> None:
    """Prints where the run stands, what it needs, and the command that the next attempt starts; writes nothing.

    Raises UserError if the run's folder is tied to another recipe. That the newest checkpoint is whole is checked at
    the start.
    """
    start, note = plan_start(recipe, options)
    begin = f"resume from step {start.checkpoint.step}" if start.checkpoint else "start"
    console.print(
        f"{start.run.root}: would {begin}; {recipe.name} ({recipe.profile}) has {recipe.num_steps} steps on"
        f" {recipe.num_nodes} x {recipe.gpus_per_node} {'GPUs' if options.device == 'cuda' else 'CPU ranks'}.",
        soft_wrap=True,
    )
    if options.device == "cuda":
        print_estimates(recipe, console)
    print_room(start.run, recipe, console)
    if options.mirror:
        console.print(f"Mirror: {describe_mirror(start.run, options.mirror)}.", soft_wrap=True)
    damaged = [f"{path.name} is damaged and would be set aside ({why})" for path, why in unreadable(start.run).items()]
    edited = edited_note(start.run, recipe.reward.function)
    for told in (*filter(None, (note, edited, _resharded_note(start))), *damaged):
        console.print(f"Note: {told}.", style="yellow", soft_wrap=True)
    ray = "with a Ray of its own" if start.has_own_ray else "in the Ray cluster at RAY_ADDRESS"
    console.print(f"\nRuns in {start.attempt.root}, {ray}:\n", soft_wrap=True)
    settings = [f"{name}={value}" for name, value in start.environment.items()]
    interpreter, arguments = start.command[:NUM_WORDS], start.command[NUM_WORDS:]
    # Each setting on a line of its own, quoted by itself: what is printed can be pasted into a shell.
    lines = [shlex.join(["env", *settings[:1]]), *map(shlex.quote, settings[1:]), shlex.join(interpreter)]
    # as it is: the console would turn a tab into spaces
    print(" \\\n    ".join([*lines, *map(shlex.quote, arguments)]), file=console.file)


def _resharded_note(start: Start) -> str:
    """Returns where the checkpoint of another number of ranks would be resharded to; empty if it has this one."""
    found = next(iter(sealed(start.run)), None)
    if found is None or start.checkpoint is None or found.world_size == start.recipe.world_size:
        return ""
    ranks = f"the checkpoint of step {found.step} is of {found.world_size} ranks"
    if not start.resumes:
        return f"{ranks} and cannot be resharded: training would resume from its merged model, with a new optimizer"
    return f"{ranks}: a copy for {start.recipe.world_size} is or would be in {start.checkpoint.path}"


def plan_start(recipe: Recipe, options: TrainOptions) -> tuple[Start, str]:
    """Returns the next start of a run, and a note on what is not there yet; nothing is written."""
    run = RunFolder(options.run_dir.resolve())
    check_recipe(run, recipe, options)
    inputs, note = find_inputs(recipe, options)
    found = next(iter(sealed(run)), None)
    checkpoint = plan_copy(run, found, recipe.world_size) if found else None
    attempt = run.next_attempt()
    start = Start(run=run, attempt=attempt, recipe=recipe, options=options, inputs=inputs, checkpoint=checkpoint)
    return start, note


def print_estimates(recipe: Recipe, console: Console) -> None:
    """Prints what each kind of GPU would have to hold, and warns of what cannot fit."""
    try:
        shape = shape_of(recipe.model)
    except UserError as reason:
        console.print(f"Note: no estimate: {reason}", style="yellow", soft_wrap=True)
        return
    estimates = [estimate(recipe, shape, gpu) for gpu in GPUS]
    table = new_table(["estimate for one GPU, GiB", *GPUS])
    for label, value in (
        ("weights, gradients, optimiser", "state"),
        ("the optimiser's step", "step"),
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
            console.print(f"Note: {warning}", style="yellow")
