"""Writes compare.html: one file that has no script and loads nothing. Every string from a model or user is escaped."""

from deepscaler.data.sources import title
from deepscaler.output.cells import percent
from deepscaler.output.html import escape, excerpt, fill, table
from evaluation.compare.compare import Comparison
from evaluation.compare.plots import forest_plot
from evaluation.compare.tables import headline, legend, movement_table, notes, points, power_table, result_table
from evaluation.compare.texts import Example
from evaluation.score import Scored


def html_page(compared: list[Comparison], margin: float) -> str:
    """Returns the whole page."""
    baseline = compared[0].before
    return fill(
        "evaluation.compare",
        title=f"Comparison with {escape(baseline.model)}",
        summary=escape(
            f"{baseline.name} is the baseline; paired over problems, grader {baseline.grader},"
            f" margin {100 * margin:g} points"
        ),
        comparisons="".join(_section(one, margin) for one in compared),
        margin=f"{100 * margin:g}",
    )


def _section(one: Comparison, margin: float) -> str:
    """Returns the section about one model."""
    warnings = "".join(f'<p class="warning">{escape(note)}</p>' for note in notes(one))
    moved = f"<h4>Samples of one seed</h4>{table(movement_table(one), 'movement')}" if one.movements else ""
    return (
        f"<section><h2>{one.after.name}: {escape(one.after.model)}</h2>"
        f'<p class="summary">{"<br>".join(map(escape, legend(one)))}</p>'
        f"<p><b>{escape(headline(one, margin))}</b></p>{warnings}"
        f"<figure>{forest_plot(one, margin)}<figcaption>Differences with 95 % intervals; the grey band counts"
        f" as no difference.</figcaption></figure>{table(result_table(one), 'results')}"
        f"<h4>How much these problems and samples can show</h4>{table(power_table(one), 'power')}{moved}</section>"
        f"{_examples('Worst regressions', one, one.regressions)}{_examples('Best gains', one, one.gains)}"
    )


def _examples(heading: str, one: Comparison, found: dict[str, list[Example]]) -> str:
    shown = "".join(_example(one, name, example) for name, some in found.items() for example in some)
    return f"<section><h2>{heading}</h2>{shown}</section>" if shown else ""


def _example(one: Comparison, dataset: str, example: Example) -> str:
    """Returns a problem with a sample of each model side by side, folded."""
    rates = f"{percent(example.before)} % to {percent(example.after)} %"
    heading = f"{points(example.after - example.before)} points: {title(dataset)}, {example.problem_id}, {rates}"
    sides = ((one.before.name, example.sample_before), (one.after.name, example.sample_after))
    return (
        f"<details><summary>{escape(heading)}</summary><h4>Problem</h4><pre>{excerpt(example.question)}</pre>"
        f"<h4>Gold</h4><pre>{excerpt(' | '.join(example.golds))}</pre>"
        f'<div class="plots">{"".join(_side(name, scored) for name, scored in sides)}</div></details>'
    )


def _side(name: str, scored: Scored) -> str:
    sample, answer = scored.sample, scored.grade.answer
    length = f", {sample.response_tokens:,} tokens" if sample.response_tokens else ""
    heading = f"{name}, sample {sample.sample}: {scored.grade.reason.replace('_', ' ')}{length}"
    return (
        f"<div><h4>{escape(heading)}</h4><pre>{'no box' if answer is None else excerpt(answer)}</pre>"
        f"<h4>Response</h4><pre>{excerpt(sample.text)}</pre></div>"
    )
