"""Writes a training's report.html: curves, start and end, recipe, attempts, versions."""

from typing import Any

from deepscaler.output.cells import Rows
from deepscaler.output.html import definitions, escape, fill, table
from deepscaler.runs.stages import Stage
from deepscaler.training.report.curves import PANELS, panel_svg
from deepscaler.training.report.evaluations import Evaluation, changes_table, evaluations_svg, evaluations_table
from deepscaler.training.report.tables import (
    NUM_AVERAGED,
    attempts_table,
    heading,
    progress_table,
    recipe_tables,
    summary,
)


def html_page(stages: list[Stage], prompts: Rows, evaluations: list[Evaluation], notes: list[str]) -> str:
    """Returns the whole page."""
    differing, same = recipe_tables(stages)
    return fill(
        "deepscaler.training.report",
        title=f"Training {escape(heading(stages))}",
        summary=escape(summary(stages)),
        warnings="".join(f'<p class="warning">{escape(note)}</p>' for note in notes),
        curves="".join(f"<figure><h4>{panel.title}</h4>{panel_svg(panel, stages)}</figure>" for panel in PANELS),
        num_averaged=str(NUM_AVERAGED),
        progress=table(progress_table(stages), "progress"),
        evaluations=_evaluations(evaluations) if evaluations else "",
        differing=table(differing, "recipe"),
        num_same=str(len(same) - 1),
        same=table(same, "recipe"),
        prompts=_prompts(prompts),
        attempts=table(attempts_table(stages), "attempts"),
        provenance=definitions(_provenance(stages)),
    )


def _prompts(rows: Rows) -> str:
    return f"<section><h2>Prompts</h2>{table(rows, 'prompts')}</section>" if len(rows) > 1 else ""


def _evaluations(evaluations: list[Evaluation]) -> str:
    changes = changes_table(evaluations)
    compared = f"<h4>Each beside the one before, paired over problems</h4>{table(changes, 'changes')}"
    return (
        "<section><h2>Evaluations before and after each stage</h2>"
        f"<figure>{evaluations_svg(evaluations)}"
        "<figcaption>Pass@1 with 95 % intervals clustered by problem; each evaluation's folder holds its own report."
        f"</figcaption></figure>{table(evaluations_table(evaluations), 'evaluations')}"
        f"{compared if len(changes) > 1 else ''}</section>"
    )


def _provenance(stages: list[Stage]) -> dict[str, Any]:
    """Returns the manifest without the recipe, by stage if there are several."""
    found = {stage.name: {key: value for key, value in stage.manifest.items() if key != "recipe"} for stage in stages}
    return found if len(stages) > 1 else found[stages[0].name]
