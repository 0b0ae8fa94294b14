"""Writes the report of a training run or a chain: terminal table, report.json, report.html, report.png."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from deepscaler.output.plotting import write_png
from deepscaler.output.terminal import print_rows
from deepscaler.runs.metrics import QUANTITIES, VALIDATION, quantity, validation
from deepscaler.runs.spread import with_spread
from deepscaler.runs.stages import Stage, not_begun, read_stages
from deepscaler.system.files import write_json, write_text
from deepscaler.training.report.curves import curves_figure
from deepscaler.training.report.evaluations import (
    Evaluation,
    changes_table,
    differences,
    evaluations_table,
    read_evaluations,
)
from deepscaler.training.report.page import html_page
from deepscaler.training.report.prompts import Prompts, prompts_notes, prompts_of, prompts_table
from deepscaler.training.report.tables import heading, notes, progress_table, summary

SCHEMA = 1
"""Version of report.json; raised when a field changes its meaning."""


def write_training_report(directory: Path, console: Console) -> dict[str, Any]:
    """Writes all reports into the folder, prints the tables, and returns what report.json holds."""
    stages = [with_spread(stage) for stage in read_stages(directory)]
    evaluations = read_evaluations(directory, stages)
    told = {stage.name: prompts_of(stage) for stage in stages}
    prompts = prompts_table(told)
    remarks = [*notes(stages), *prompts_notes(told), *not_begun(directory), *differences(evaluations)]
    report = _as_json(stages, told, evaluations, remarks)
    write_json(directory / "report.json", report)
    write_text(directory / "report.html", html_page(stages, prompts, evaluations, remarks))
    write_png(curves_figure(stages, heading(stages), summary(stages)), directory / "report.png")
    print_rows(console, f"{heading(stages)}: {summary(stages)}", progress_table(stages))
    if evaluations:
        print_rows(console, "Pass@1 in percent, 95 % interval", evaluations_table(evaluations))
    if len(changes := changes_table(evaluations)) > 1:
        print_rows(console, "Each beside the one before, paired over problems", changes)
    if len(prompts) > 1:
        print_rows(console, "Prompts", prompts)
    for remark in remarks:
        console.print(Text(f"Note: {remark}", style="yellow"))
    console.print(f"Report: {directory / 'report.html'}", soft_wrap=True)
    return report


def _as_json(
    stages: list[Stage], prompts: Prompts, evaluations: list[Evaluation], remarks: list[str]
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "stages": [_stage_as_json(stage, prompts[stage.name]) for stage in stages],
        "evaluations": [
            {
                "name": one.name,
                "protocol": one.protocol,
                "pass@1": {
                    name: {"value": score.value, "low": score.low, "high": score.high}
                    for name, score in one.benchmarks.items()
                },
            }
            for one in evaluations
        ],
        "warnings": remarks,
    }


def _stage_as_json(stage: Stage, prompts: dict[str, Any]) -> dict[str, Any]:
    """Series are [[step, value], ...] by the stage's own steps; on a chain's axis `steps_before` comes on top."""
    return {
        "name": stage.name,
        "profile": stage.profile,
        "steps_before": stage.start,
        "series": {name: points for name in QUANTITIES if (points := quantity(stage.metrics, name))},
        "validation": {name: curves for name in VALIDATION if (curves := validation(stage.metrics, name))},
        "prompts": prompts,
        "attempts": [attempt.read_record() for attempt in stage.run.attempts()],
        **stage.manifest,
    }
