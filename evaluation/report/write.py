"""Scores an evaluation's folder and reports the result in the terminal, report.json, report.md and report.html."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from deepscaler.data.sources import title
from deepscaler.output.cells import Rows, markdown_table
from deepscaler.output.terminal import add_row, new_table, print_rows, print_table
from deepscaler.rewards.grade import Mode
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_text
from evaluation.exchange.imports import disagreements
from evaluation.folder import EvaluationFolder
from evaluation.protocols import protocol_of, samples_of, told
from evaluation.report.agreement import agreement
from evaluation.report.page import html_page
from evaluation.report.tables import average, comparison_table, detail_table, protocol_table, warnings
from evaluation.results import BenchmarkResults, Lengths, Results, write_results
from evaluation.score import BenchmarkScores, score_benchmark


def write_report(output_dir: Path, console: Console, mode: Mode = "kit", published: str = "") -> Results:
    """Scores all samples of a folder, writes its reports, prints the tables, and returns the content of report.json.

    `published` names the protocol whose published results to show, or `all`; empty for the run's own.
    """
    folder = EvaluationFolder(output_dir)
    config = folder.read_config()
    benchmarks = _score(folder, config, mode, console)
    if not benchmarks:
        raise UserError(f"{output_dir} holds no samples yet; run `deepscaler evaluate` into it first")
    provenance = folder.read_provenance()
    notes = warnings(benchmarks, config, provenance) + _disagreements(folder, benchmarks)
    agrees = agreement(benchmarks, config, provenance, mode)
    rows = comparison_table(benchmarks, config, published)
    results = Results(
        grader=mode,
        config=config,
        benchmarks={one.dataset: _results(one) for one in benchmarks},
        average=average(benchmarks, config),
        warnings=notes,
        provenance=provenance,
    )
    page = folder.report_path("html", mode)
    write_results(folder.report_path("json", mode), results)
    write_text(folder.report_path("md", mode), _as_markdown(benchmarks, config, mode, rows, agrees, notes))
    write_text(
        page, html_page(benchmarks, config, provenance, mode, rows, agrees, _questions(folder, benchmarks), notes)
    )
    _print(benchmarks, config, mode, rows, agrees, notes, console)
    console.print(f"Report: {page}", soft_wrap=True)
    return results


def _score(folder: EvaluationFolder, config: dict[str, Any], mode: Mode, console: Console) -> list[BenchmarkScores]:
    num_expected = sum(len(folder.read_problems(name)) * samples_of(config, name) for name in config["datasets"])
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("grading", total=num_expected)
        scores = [
            score_benchmark(folder, name, config, mode, lambda: progress.advance(task)) for name in config["datasets"]
        ]
    return [one for one in scores if one is not None]


def _disagreements(folder: EvaluationFolder, benchmarks: list[BenchmarkScores]) -> list[str]:
    found = {
        title(one.dataset): disagreements(
            folder, one.dataset, {scored.sample.key: scored.grade.correct for scored in one.scored}
        )
        for one in benchmarks
    }
    return [f"{name}: {told}." for name, told in found.items() if told]


def _results(one: BenchmarkScores) -> BenchmarkResults:
    return BenchmarkResults(
        num_problems=one.num_problems,
        num_samples=len(one.scored),
        num_expected=one.num_expected,
        pass_at_1=one.pass_at_1,
        pass_at_k=one.pass_at_k,
        majority=one.majority,
        truncated=one.num_truncated / len(one.scored),
        reasons=one.reasons,
        response_tokens={
            name: Lengths.of([length for length in one.lengths(correct) if length])  # 0: not counted
            for name, correct in (("all", None), ("correct", True), ("wrong", False))
        },
        problem_pass_rates=one.problem_means,
        these_problems=one.these_problems,
    )


def _as_markdown(
    benchmarks: list[BenchmarkScores],
    config: dict[str, Any],
    mode: Mode,
    rows: Rows,
    agrees: list[str],
    notes: list[str],
) -> str:
    options = {name: value for name, value in config.items() if name not in ("model", "datasets")}
    protocol = protocol_of(config)
    parts = [
        f"# Evaluation of `{config['model']}`",
        f"Pass@1 in percent (95 % interval, clustered by problem), protocol {told(config)}, beside published results.",
        markdown_table(rows),
        # Markdown would take </think> for HTML, and show nothing.
        *(sentence.replace("<", "&lt;") for sentence in agrees),
        "## Details",
        markdown_table(detail_table(benchmarks)),
        *[f"**Note:** {warning}" for warning in notes],
        "## Protocol",
        *([protocol.about.replace("<", "&lt;")] if protocol else []),
        markdown_table(protocol_table(config, mode)),
        f"Grader `{mode}`; "
        + ", ".join(f"{name} {json.dumps('unknown' if value is None else value)}" for name, value in options.items())
        + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _print(
    benchmarks: list[BenchmarkScores],
    config: dict[str, Any],
    mode: Mode,
    rows: Rows,
    agrees: list[str],
    notes: list[str],
    console: Console,
) -> None:
    header, own, *published = rows
    table = new_table(header[:-1])
    add_row(table, own[:-1], style="bold")
    # groupby joins neighbors only; the table of published results keeps the rows of a source together.
    for source, group in groupby(published, key=lambda row: row[-1]):
        add_row(table, [f"\n{source}:"], style="dim")
        for row in group:
            add_row(table, row[:-1])
    print_table(console, f"Pass@1 in percent, 95 % interval, protocol {told(config)}, grader {mode}", table)
    for sentence in agrees:
        console.print(Text(sentence))
    print_rows(console, "Details", detail_table(benchmarks))
    console.print(Text("\nDifferences between this run and each protocol:"))
    for line in _differing(protocol_table(config, mode)):
        console.print(Text(line))
    for warning in notes:
        console.print(Text(f"Note: {warning}", style="yellow"))


def _differing(rows: Rows) -> list[str]:
    """Returns a line for each protocol, because a table of that many words would not fit a terminal."""
    header, _, *protocols = rows
    cells = [
        [f"{name} {cell}" for name, cell in zip(header[1:], row[1:], strict=True) if cell != "="] for row in protocols
    ]
    return [f"  {row[0]}: {', '.join(found) or 'nothing'}" for row, found in zip(protocols, cells, strict=True)]


def _questions(folder: EvaluationFolder, benchmarks: list[BenchmarkScores]) -> dict[str, dict[str, Any]]:
    """Returns every problem's text and golds by its id."""
    return {problem["id"]: problem for one in benchmarks for problem in folder.read_problems(one.dataset)}
