"""report.html: one file, no script, nothing loaded from elsewhere. Every string from a model or user is escaped."""

import json
from html import escape
from importlib import resources
from string import Template
from typing import Any
from unicodedata import category

from evaluation.plots import accuracy_plot, length_plot, pass_at_k_plot, problem_plot
from evaluation.score import BenchmarkScores, Scored
from evaluation.tables import Rows, comparison_table, detail_table, short_name, title

MAX_SHOWN = 4000
"""Characters of a response that the page shows; its middle is left out beyond that."""


def html_page(
    benchmarks: list[BenchmarkScores],
    config: dict[str, Any],
    provenance: dict[str, Any],
    grader: str,
    questions: dict[str, dict[str, Any]],
    notes: list[str],
) -> str:
    """The whole page."""
    template = Template(resources.files("evaluation").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        model=_escape(short_name(str(config["model"]))),
        summary=_escape(f"{_summary(benchmarks, config)}, grader {grader}"),
        warnings="".join(f'<p class="warning">{_escape(warning)}</p>' for warning in notes),
        comparison=_table(comparison_table(benchmarks, str(config["model"])), "comparison"),
        details=_table(detail_table(benchmarks), "details"),
        accuracy=accuracy_plot(benchmarks),
        pass_at_k=pass_at_k_plot(benchmarks) if any(len(one.pass_at_k) > 1 for one in benchmarks) else "",
        benchmarks="".join(_benchmark_section(one, questions) for one in benchmarks),
        protocol=_nested({**config, "grader": grader}),
        provenance=_nested(provenance) if provenance else "<p>None was recorded.</p>",
    )


def _summary(benchmarks: list[BenchmarkScores], config: dict[str, Any]) -> str:
    num_samples = sum(len(one.scored) for one in benchmarks)
    return (
        f"{num_samples:,} responses to {sum(one.num_problems for one in benchmarks):,} problems,"
        f" n {config['num_samples']}, temperature {config['temperature']}, top-p {config['top_p']},"
        f" at most {config['max_tokens']:,} tokens, seed {config['seed']}"
        + (f", only the first {config['limit']} problems of each benchmark" if config["limit"] else "")
    )


def _benchmark_section(one: BenchmarkScores, questions: dict[str, dict[str, Any]]) -> str:
    examples = "".join(_example(label, scored, questions) for label, scored in _examples(one))
    return (
        f"<section><h2>{_escape(title(one.dataset))}</h2>"
        '<div class="plots">'
        f"<figure>{length_plot(one)}<figcaption>Response lengths</figcaption></figure>"
        f"<figure>{problem_plot(one)}<figcaption>Pass rate of every problem</figcaption></figure>"
        f"</div>{examples}</section>"
    )


def _examples(one: BenchmarkScores) -> list[tuple[str, Scored]]:
    """The first response of each kind there is."""
    first: dict[str, Scored] = {}
    for scored in one.scored:
        first.setdefault(scored.grade.reason, scored)
    return sorted(first.items())


def _example(label: str, scored: Scored, questions: dict[str, dict[str, Any]]) -> str:
    sample, problem = scored.sample, questions[scored.sample.problem_id]
    heading = (
        f"{label.replace('_', ' ')}: {sample.problem_id}, sample {sample.sample}, {sample.response_tokens:,} tokens"
    )
    answer = "no box" if scored.grade.answer is None else scored.grade.answer
    return (
        f"<details><summary>{_escape(heading)}</summary><h4>Problem</h4><pre>{_excerpt(problem['problem'])}</pre>"
        f"<h4>Answer</h4><pre>{_excerpt(answer)}   (gold: {_excerpt(' | '.join(problem['golds']))})</pre>"
        f"<h4>Response</h4><pre>{_excerpt(sample.text)}</pre></details>"
    )


def _excerpt(text: str) -> str:
    """A text as HTML, without its middle if it is long."""
    if len(text) <= MAX_SHOWN:
        return _escape(text)
    half = MAX_SHOWN // 2
    return _escape(f"{text[:half]}\n\n[... {len(text) - MAX_SHOWN:,} characters left out ...]\n\n{text[-half:]}")


def _table(rows: Rows, kind: str) -> str:
    head = "".join(f"<th>{_escape(cell)}</th>" for cell in rows[0])
    cells = [[_escape(cell).replace("\n", "<br>") for cell in row] for row in rows[1:]]
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in cells)
    return f'<div class="scroll {kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _nested(values: dict[str, Any]) -> str:
    """Nested JSON as a definition table."""
    cells = {name: _nested(v) if isinstance(v, dict) and v else _escape(_plain(v)) for name, v in values.items()}
    rows = "".join(f"<tr><th>{_escape(name)}</th><td>{cell}</td></tr>" for name, cell in cells.items())
    return f'<table class="nested">{rows}</table>'


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _escape(text: str) -> str:
    """Safe in HTML: no markup, no control characters, no lone surrogates."""
    shown = (c if c.isprintable() or c in "\n\t\u200d" or category(c) == "Zs" else "\ufffd" for c in text)
    return escape("".join(shown))
