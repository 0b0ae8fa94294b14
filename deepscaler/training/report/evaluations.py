"""Reads what a chain's models score before and after each stage from the evaluations' own reports.

[Evaluation("start", {"aime": Interval(0.288, 0.20, 0.39)}), Evaluation("after 8k", {"aime": Interval(0.33, ...)})]
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from deepscaler.data.sources import title
from deepscaler.output.cells import Interval, Rows, show_interval
from deepscaler.output.plotting import COLOURS, GREY, NAMES_AS_THEY_ARE, STYLE, to_svg
from deepscaler.runs.outputs import CHAIN, EVALUATION, find_kind
from deepscaler.runs.stages import Stage
from deepscaler.system.files import read_json
from evaluation.compare.compare import compare
from evaluation.compare.difference import MARGIN
from evaluation.compare.sides import open_side
from evaluation.compare.tables import result_table
from evaluation.protocols import SAMPLING
from evaluation.results import read_results


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluated model of a chain."""

    name: str
    benchmarks: dict[str, Interval]
    """Pass@1."""
    protocol: dict[str, Any]
    report: Path


def read_evaluations(directory: Path, stages: list[Stage]) -> list[Evaluation]:
    """Returns the evaluations of a chain's start model and of each stage's model, as far as they exist."""
    places = [(f"after {stage.name}", stage.run.root) for stage in stages]
    if find_kind(directory) == "chain":
        base = read_json(directory / CHAIN).get("base")
        places[:0] = [("start", directory / str(base["directory"]))] if isinstance(base, dict) else []
    found = [(name, root / EVALUATION / "report.json") for name, root in places]
    return [read_evaluation(name, path) for name, path in found if path.is_file()]


def differences(evaluations: list[Evaluation]) -> list[str]:
    """Returns what a reader must know before comparing the evaluations."""
    names = list(dict.fromkeys(name for one in evaluations for name in one.protocol))
    # As JSON, because lists cannot be elements of a set.
    differing = [name for name in names if len({json.dumps(one.protocol.get(name)) for one in evaluations}) > 1]
    return [f"The evaluations differ in {', '.join(differing)}: not comparable."] if differing else []


def evaluations_table(evaluations: list[Evaluation]) -> Rows:
    """Returns one row per model and one column per benchmark."""
    names = _benchmarks(evaluations)
    rows = [
        [one.name, *(show_interval(one.benchmarks[name]) if name in one.benchmarks else "-" for name in names)]
        for one in evaluations
    ]
    return [["model", *map(title, names)], *rows]


def changes_table(evaluations: list[Evaluation]) -> Rows:
    """Returns the paired difference of each model from the one before, a row a benchmark; only a header for none."""
    rows = [["model, benchmark", "difference", "adjusted p", "verdict"]]
    for before, after in pairwise(evaluations):
        sides = [open_side(one.name, one.report, "kit") for one in (before, after)]
        if set(before.benchmarks) & set(after.benchmarks):
            (compared,) = compare(sides, margin=MARGIN, anyway=True)
            for name, *_, difference, _, adjusted, verdict in result_table(compared)[1:]:
                rows.append([f"{after.name}, {name}", difference, adjusted, verdict])
    return rows


def evaluations_svg(evaluations: list[Evaluation]) -> str:
    """Draws one line per benchmark over the models, each point with its interval."""
    names = _benchmarks(evaluations)
    with mpl.rc_context({**STYLE, **NAMES_AS_THEY_ARE}):
        figure = Figure(figsize=(7.5, 3.2), layout="constrained")
        axes = figure.subplots()
        for index, name in enumerate(names):
            places = [place for place, one in enumerate(evaluations) if name in one.benchmarks]
            shift = (index - (len(names) - 1) / 2) * min(0.08, 0.4 / len(names))  # or bars would hide each other
            scores = [evaluations[place].benchmarks[name] for place in places]
            axes.errorbar(
                [place + shift for place in places],
                [100 * score.value for score in scores],
                yerr=[
                    [100 * (score.value - score.low) for score in scores],
                    [100 * (score.high - score.value) for score in scores],
                ],
                fmt="o-",
                color=COLOURS[index % len(COLOURS)],
                label=title(name),
                markersize=5,
                linewidth=1.2,
                elinewidth=1,
                capsize=3,
            )
        axes.set_xticks(range(len(evaluations)), [one.name for one in evaluations])
        axes.set(xlim=(-0.5, len(evaluations) - 0.5), ylabel="Pass@1, percent")
        axes.grid(axis="y", color=GREY, alpha=0.2)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return to_svg(figure)


def _benchmarks(evaluations: list[Evaluation]) -> list[str]:
    return list(dict.fromkeys(name for one in evaluations for name in one.benchmarks))


def read_evaluation(name: str, path: Path) -> Evaluation:
    """Returns an evaluation by its report.json. Raises UserError if that cannot be read."""
    results = read_results(path)
    protocol = {
        "grader": results.grader,
        **{option: results.config.get(option) for option in ("num_samples", *SAMPLING, "limit")},
    }
    return Evaluation(name, results.pass_at_1, protocol, path)
