"""Writes report.html: one file that has no script and loads nothing. Every string from a model or user is escaped."""

from typing import Any

from deepscaler.data.sources import title
from deepscaler.output.cells import Rows, short_name
from deepscaler.output.html import definitions, escape, excerpt, fill, table
from deepscaler.rewards.grade import Mode
from evaluation.protocols import protocol_name, protocol_of, samples_of, told, told_numbers
from evaluation.report.plots import accuracy_plot, length_plot, pass_at_k_plot, problem_plot
from evaluation.report.tables import detail_table, protocol_table
from evaluation.score import BenchmarkScores, Scored

OPTIONS = ("temperature", "top_p", "max_tokens", "seed")
"""Options that an imported file may leave out."""


def html_page(
    benchmarks: list[BenchmarkScores],
    config: dict[str, Any],
    provenance: dict[str, Any],
    grader: Mode,
    rows: Rows,
    agrees: list[str],
    questions: dict[str, dict[str, Any]],
    notes: list[str],
) -> str:
    """Returns the whole page."""
    model = escape(short_name(str(config["model"])))
    return fill(
        "evaluation.report",
        title=f"Evaluation of {model}",
        model=model,
        summary=escape(f"{_summary(benchmarks, config)}, grader {grader}"),
        warnings="".join(f'<p class="warning">{escape(warning)}</p>' for warning in notes),
        comparison=table(rows, "comparison") + "".join(f"<p>{escape(sentence)}</p>" for sentence in agrees),
        details=table(detail_table(benchmarks), "details"),
        accuracy=accuracy_plot(benchmarks, protocol_name(config)),
        pass_at_k=pass_at_k_plot(benchmarks) if any(len(one.pass_at_k) > 1 for one in benchmarks) else "",
        benchmarks="".join(_benchmark_section(one, questions) for one in benchmarks),
        protocol=_protocol(config, grader),
        provenance=definitions(provenance) if provenance else "<p>None was recorded.</p>",
    )


def _summary(benchmarks: list[BenchmarkScores], config: dict[str, Any]) -> str:
    num_samples = sum(len(one.scored) for one in benchmarks)
    numbers = told_numbers(samples_of(config, name) for name in config["datasets"])
    known = {name: "unknown" if config[name] is None else f"{config[name]:,}" for name in OPTIONS}
    return (
        f"{num_samples:,} responses to {sum(one.num_problems for one in benchmarks):,} problems,"
        f" protocol {told(config)}: n {numbers}, temperature {known['temperature']}, top-p {known['top_p']},"
        f" at most {known['max_tokens']} tokens, seed {known['seed']}"
        + (f", only the first {config['limit']} problems of each benchmark" if config["limit"] else "")
    )


def _protocol(config: dict[str, Any], grader: Mode) -> str:
    """Returns the run's settings beside those of all protocols, its protocol's source, and every option."""
    protocol = protocol_of(config)
    return (
        table(protocol_table(config, grader), "protocols")
        + (f"<p>{escape(protocol.about)}</p>" if protocol else "")
        + definitions({**config, "grader": grader})
    )


def _benchmark_section(one: BenchmarkScores, questions: dict[str, dict[str, Any]]) -> str:
    examples = "".join(_example(label, scored, questions) for label, scored in _examples(one))
    lengths = f"<figure>{length_plot(one)}<figcaption>Response lengths</figcaption></figure>"
    return (
        f"<section><h2>{escape(title(one.dataset))}</h2>"
        '<div class="plots">'
        f"{lengths if any(one.lengths()) else ''}"
        f"<figure>{problem_plot(one)}<figcaption>Pass rate of every problem</figcaption></figure>"
        f"</div>{examples}</section>"
    )


def _examples(one: BenchmarkScores) -> list[tuple[str, Scored]]:
    """Returns the first response for each outcome of grading."""
    first: dict[str, Scored] = {}
    for scored in one.scored:
        first.setdefault(scored.grade.reason, scored)
    return sorted(first.items())


def _example(label: str, scored: Scored, questions: dict[str, dict[str, Any]]) -> str:
    sample, problem = scored.sample, questions[scored.sample.problem_id]
    heading = f"{label.replace('_', ' ')}: {sample.problem_id}, sample {sample.sample}" + (
        f", {sample.response_tokens:,} tokens" if sample.response_tokens else ""
    )
    answer = "no box" if scored.grade.answer is None else scored.grade.answer
    return (
        f"<details><summary>{escape(heading)}</summary><h4>Problem</h4><pre>{excerpt(problem['problem'])}</pre>"
        f"<h4>Answer</h4><pre>{excerpt(answer)}   (gold: {excerpt(' | '.join(problem['golds']))})</pre>"
        f"<h4>Response</h4><pre>{excerpt(sample.text)}</pre></details>"
    )
