"""The report's tables as plain rows of cells, the first being the header; every output draws them its own way.

A cell may have two lines: a value and its interval.
"""

import json
from pathlib import Path
from typing import Any

from deepscaler.data.sources import PUBLISHED_BENCHMARKS, title
from deepscaler.output.cells import Rows, percent, short_name, show_interval
from evaluation.config import EvaluationConfig
from evaluation.folder import DIFFERING
from evaluation.report.published import results_for
from evaluation.score import BenchmarkScores

PROTOCOL = ("num_samples", "temperature", "top_p", "max_tokens", "limit")
"""Options that decide what a score means."""

UNDECIDED = ("timeout", "worker_died")
"""Reasons that are failures of grading, not of the model."""


def comparison_table(benchmarks: list[BenchmarkScores], model: str) -> Rows:
    """This model's Pass@1 above the published ones, for the benchmarks that were run."""
    names = [one.dataset for one in benchmarks]
    mean = average(benchmarks)
    rows = [["model", *map(title, names), *(["mean"] if mean is not None else []), "source"]]
    own = [show_interval(one.pass_at_1, digits=0) for one in benchmarks]
    rows.append([short_name(model), *own, *([percent(mean)] if mean is not None else []), "this run"])
    for result in results_for(names):
        cells = [_published_cell(result.scores.get(name), result.deviations.get(name)) for name in names]
        if mean is not None:
            cells.append(_published_cell(_mean(result.scores), None))
        rows.append([result.model, *cells, result.told])
    return rows


def detail_table(benchmarks: list[BenchmarkScores]) -> Rows:
    """What stands behind each Pass@1, a column a benchmark."""
    columns = [_details(one) for one in benchmarks]
    return [
        ["", *(title(one.dataset) for one in benchmarks)],
        *([name, *(c[name] for c in columns)] for name in columns[0] if any(c[name] for c in columns)),
    ]


def _details(one: BenchmarkScores) -> dict[str, str]:
    scored, lengths, largest = len(one.scored), one.lengths(), max(one.pass_at_k)
    return {
        "problems": str(one.num_problems),
        "samples": f"{scored:,}" if one.is_complete else f"{scored:,} of {one.num_expected:,}",
        "pass@1": show_interval(one.pass_at_1),
        "pass@k": f"{percent(one.pass_at_k[largest])}\n(k={largest})",
        "maj@n": percent(one.majority),
        "cut off": percent(one.num_truncated / scored),
        "no box": percent(one.reasons.get("no_box", 0) / scored),
        "no </think>": percent(one.reasons["no_think_end"] / scored) if "no_think_end" in one.reasons else "",
        "undecided": str(sum(one.reasons.get(reason, 0) for reason in UNDECIDED)),
        "mean tokens": f"{sum(lengths) / len(lengths):,.0f}",
    }


def average(benchmarks: list[BenchmarkScores]) -> float | None:
    """Returns the mean Pass@1 of the five published benchmarks; None if one of them was not run."""
    return _mean({one.dataset: one.pass_at_1.value for one in benchmarks})


def _mean(scores: dict[str, float]) -> float | None:
    """Returns the mean over the five published benchmarks; None if one of them is missing."""
    if not set(PUBLISHED_BENCHMARKS) <= set(scores):
        return None
    return sum(scores[name] for name in PUBLISHED_BENCHMARKS) / len(PUBLISHED_BENCHMARKS)


def warnings(benchmarks: list[BenchmarkScores], config: dict[str, Any], provenance: dict[str, Any]) -> list[str]:
    """What a reader must know before believing the numbers."""
    published = EvaluationConfig(model="m", output_dir=Path())
    other = [f"{name} {config[name]}" for name in PROTOCOL if config[name] != getattr(published, name)]
    found = []
    if other and results_for([one.dataset for one in benchmarks]):
        found.append(f"Not the published protocol ({', '.join(other)}): not comparable with the published numbers.")
    if config.get("shard"):
        found.append(f"Shard {config['shard']}: only a part of each benchmark's problems.")
    attempts = provenance.get("attempts", [])
    differing = [name for name in DIFFERING if len({_comparable(attempt.get(name)) for attempt in attempts}) > 1]
    if differing:
        found.append(f"The samples were drawn in {len(attempts)} attempts that differ in {', '.join(differing)}.")
    for one in benchmarks:
        name, scored = title(one.dataset), len(one.scored)
        if not one.is_complete:
            found.append(f"{name} is partial: {scored} of {one.num_expected} samples.")
        undecided = sum(one.reasons.get(reason, 0) for reason in UNDECIDED)
        if undecided:
            found.append(f"{name}: {undecided} of {scored} answers could not be graded in time; they count as wrong.")
        if one.reasons.get("no_think_end", 0) - one.num_truncated > scored / 2:
            found.append(f"{name}: most responses hold no </think>; for a model that does not think use --thinking no.")
    return found


def _comparable(told: Any) -> str:
    """Of a part of an attempt; an engine's max_model_len only follows from the longest prompt of what it drew."""
    return json.dumps({**told, "max_model_len": 0} if isinstance(told, dict) else told, sort_keys=True)


def _published_cell(score: float | None, deviation: float | None) -> str:
    if score is None:
        return "-"
    return f"{score:.1f}" + (f"\n±{deviation:.1f}" if deviation else "")
