"""Makes the tables of a training's report as plain rows of cells, the first being the header.

                     8k start  8k end
mean reward              0.31    0.47
"""

import json
from typing import Any

from deepscaler.data.sources import title
from deepscaler.output.cells import Rows, short_name
from deepscaler.output.terminal import printable
from deepscaler.recipes.recipe import Recipe
from deepscaler.recipes.signs import SIGNS
from deepscaler.recipes.stored import default_options, stored_options
from deepscaler.runs.alarms import history
from deepscaler.runs.goodput import goodput_of
from deepscaler.runs.memory import read_memory
from deepscaler.runs.metrics import NOW_AND_THEN, QUANTITIES, VALIDATION, mean, quantity, steps_of, validation
from deepscaler.runs.stages import Stage
from deepscaler.system.options import options_of

NUM_AVERAGED = 10
"""Steps at the start and at the end whose mean is shown: one step's batch tells little."""


def heading(stages: list[Stage]) -> str:
    """Returns `8k -> 16k (profile faithful)`: the profile is beside the name wherever a training is named."""
    profiles = [stage.profile for stage in stages]
    if len(set(profiles)) == 1:
        return f"{' → '.join(stage.name for stage in stages)} (profile {profiles[0]})"
    return " → ".join(f"{stage.name} (profile {stage.profile})" for stage in stages)


def summary(stages: list[Stage]) -> str:
    """Returns which model was trained on which data, and how far."""
    recipe, last = stages[0].recipe, stages[-1]
    steps = f"step {last.start + last.step:,} of {last.start + last.num_steps:,}"
    datasets = ", ".join(map(str, stored_options(recipe)["train_dataset"]))
    return printable(f"{short_name(str(recipe.get('model')))} trained on {datasets}, {steps}")


def notes(stages: list[Stage]) -> list[str]:
    """Returns what a reader must know before believing the curves."""
    found = []
    if len({stage.profile for stage in stages}) > 1:
        found.append("The stages are of different profiles: what is `fast` in them is not DeepScaleR's recipe.")
    for stage in stages:
        if stage.step < stage.num_steps:
            found.append(f"{stage.name} is partial: {stage.step:,} of {stage.num_steps:,} steps.")
        if not stage.is_measured:
            found.append(
                f"{stage.name}: the samples of some validations are not there; their intervals count each problem once."
            )
        for dataset, points in validation(stage.metrics, "undecided").items():
            if share := max(value for _, value in points):
                found.append(
                    f"{stage.name}: up to {100 * share:.2g} % of the answers in a validation on {title(dataset)} could"
                    " not be graded in time; they count as wrong."
                )
        found += _what_it_took(stage)
        for name, steps in history(stage.run, stage.metrics).items():
            found.append(f"{stage.name} showed a sign of a sick run, {name}, {_when(steps)}. {SIGNS[name].advice}")
    return found


def _what_it_took(stage: Stage) -> list[str]:
    """Returns how much of several attempts' time made steps that count, and which nodes' memory will be full."""
    told, attempts = [], stage.run.attempts()
    if len(attempts) > 1 and (spent := goodput_of(stage.run, stage.metrics)):
        share = f"{100 * spent.share:.0f} %"
        told.append(f"{stage.name} took {spent.attempts} attempts; {share} of their time made steps that count.")
    for node in read_memory(attempts[-1]) if attempts else ():
        if node.full_step is not None and node.full_step <= stage.num_steps:
            told.append(f"Memory grows on {node.describe(stage.num_steps)}.")
    return told


def _when(steps: list[int]) -> str:
    """Returns `at step 7`, or `at 12 steps from 7 to 40`."""
    return f"at {len(steps):,} steps from {steps[0]:,} to {steps[-1]:,}" if len(steps) > 1 else f"at step {steps[0]:,}"


def progress_table(stages: list[Stage]) -> Rows:
    """Returns start and end of every stage: the first and last validation, and means over some steps of the rest."""
    rows = []
    for name, label in VALIDATION.items():
        for dataset in dict.fromkeys(d for stage in stages for d in validation(stage.metrics, name)):
            curves = [validation(stage.metrics, name).get(dataset, []) for stage in stages]
            cells = [_number(mean(end), percent=True) for points in curves for end in (points[:1], points[-1:])]
            rows.append([f"{title(dataset)} {label}, %", *cells])
    for name, about in QUANTITIES.items():
        if name == "not_finite":  # only steps with such numbers have it; a warning names them
            continue
        cells = []
        for stage in stages:
            points = quantity(stage.metrics, name)
            steps = [step for step, _ in points] if name in NOW_AND_THEN else steps_of(stage.metrics)
            # At most half of a short curve, so that its start and its end share no step.
            num_averaged = min(NUM_AVERAGED, max(1, len(steps) // 2))
            first, last = set(steps[:num_averaged]), set(steps[-num_averaged:])
            # By step, since numbers that are not finite are left out: those before them are not the end.
            for some in (first, last):
                cells.append(_number(mean([point for point in points if point[0] in some]), about.percent))
        rows.append([about.label, *cells])
    prefixes = [f"{stage.name} " for stage in stages] if len(stages) > 1 else [""]
    header = ["", *(f"{prefix}{end}" for prefix in prefixes for end in ("start", "end"))]
    return [header, *(row for row in rows if any(cell != "-" for cell in row[1:]))]


def recipe_tables(stages: list[Stage]) -> tuple[Rows, Rows]:
    """Returns every field of the recipes: those that differ from the defaults in any stage, and the others."""
    options = options_of(Recipe)
    header = ["field", *(stage.name for stage in stages), "default", "meaning"]
    differing, same = [header], [header]
    stored = [stored_options(stage.recipe) for stage in stages]
    for name in dict.fromkeys(name for recipe in stored for name in recipe):
        default = default_options().get(name)
        values = [recipe.get(name) for recipe in stored]
        # A run of a newer or older kit may have fields that this one does not know.
        known = options["verl"] if name.startswith("verl.") else options.get(name)
        about = known.help if known else "unknown to this version"
        row = [name, *map(_shown, values), _shown(default), about]
        (same if all(value == default for value in values) else differing).append(row)
    return differing, same


def attempts_table(stages: list[Stage]) -> Rows:
    """Returns a row for each start of each stage."""
    rows = [["stage", "attempt", "host", "started", "ended", "outcome", "from step", "to step"]]
    for stage in stages:
        for attempt in stage.run.attempts():
            record = attempt.read_record()
            keys = ("host", "started", "ended", "outcome", "resumed_step", "step")
            cells = [_shown(record[key]) if record.get(key) is not None else "-" for key in keys]
            rows.append([stage.name, str(attempt.number), *cells])
    return rows


def _number(value: float | None, percent: bool) -> str:
    if value is None:
        return "-"
    if percent:
        return f"{100 * value:.1f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _shown(value: Any) -> str:
    """Returns a value for people: integers with commas, texts as they are."""
    if isinstance(value, str):
        return value
    return f"{value:,}" if type(value) is int else json.dumps(value)
