"""Reports a comparison: tables on the terminal, and compare.json, compare.md and compare.html in a folder."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from deepscaler.output.cells import markdown_table
from deepscaler.output.terminal import add_row, new_table, print_rows, print_table
from deepscaler.system.files import write_json, write_text
from evaluation.compare.compare import Comparison, Row
from evaluation.compare.sides import Side
from evaluation.compare.tables import SIZES, headline, legend, movement_table, notes, power_table, result_table
from evaluation.compare.texts import Example
from evaluation.score import Scored

SCHEMA = 1
"""Version of compare.json. It rises when a field changes its meaning."""

FILES = ("compare.json", "compare.md", "compare.html")

RESULT = "Pass@1 in percent, difference in points with its 95 % interval"
POWER = "Problems, or n samples per problem, that reveal a difference in 4 of 5 cases"
MOVED = "Pairs of samples with equal seeds"


def write_comparison(compared: list[Comparison], margin: float, folder: Path) -> None:
    """Writes all files, each atomically."""
    from evaluation.compare.page import html_page  # noqa: PLC0415  matplotlib: 1.5 s

    write_json(folder / FILES[0], as_json(compared, margin))
    write_text(folder / FILES[1], _as_markdown(compared, margin))
    write_text(folder / FILES[2], html_page(compared, margin))


def print_comparison(compared: list[Comparison], margin: float, console: Console) -> None:
    """Prints the tables of each comparison, and its result."""
    for one in compared:
        # as Text, because a path with brackets would be read as markup
        console.print(Text("\n" + "\n".join(legend(one))), soft_wrap=True)
        header, *rows = result_table(one)
        table = new_table(header, text_columns=(0, len(header) - 1))
        for cells in rows:
            add_row(table, cells)
        print_table(console, RESULT, table)
        print_rows(console, POWER, power_table(one))
        if one.movements:
            print_rows(console, MOVED, movement_table(one))
        console.print()
        for note in notes(one):
            console.print(Text(f"Note: {note}", style="yellow"))
        console.print(Text(headline(one, margin), style="bold"))


def as_json(compared: list[Comparison], margin: float) -> dict[str, Any]:
    """Returns the content of compare.json, in shares of one rather than points."""
    return {
        "schema": SCHEMA,
        "grader": compared[0].before.grader,
        "margin": margin,
        "baseline": _side(compared[0].before),
        "comparisons": [
            {
                **_side(one.after),
                "headline": headline(one, margin),
                "notes": notes(one),
                "protocol_differences": one.protocols.differing,
                "benchmarks": {row.name: _row(row) for row in one.rows},
                "mean": _row(one.pooled) if one.pooled else None,
                "same_weights": one.is_one_model,
                "movement": {name: asdict(moved) for name, moved in one.movements.items()},
                "regressions": {name: list(map(_example, some)) for name, some in one.regressions.items()},
                "gains": {name: list(map(_example, some)) for name, some in one.gains.items()},
            }
            for one in compared
        ],
    }


def _side(side: Side) -> dict[str, Any]:
    return {"name": side.name, "path": str(side.path), "model": side.config.get("model"), "config": side.config}


def _row(row: Row) -> dict[str, Any]:
    found = row.found
    return {
        "problems": found.num_problems,
        "problems_left_out": row.left_out,
        "before": found.before,
        "after": found.after,
        "difference": {"value": found.value, "low": found.low, "high": found.high},
        "p": found.p_value,
        "p_adjusted": row.adjusted,
        "effect_size": found.effect_size,
        "verdict": row.verdict,
        "problems_up": found.risen,
        "problems_down": found.fallen,
        "variance": {"between_problems": found.between, "within_problems": found.within},
        "smallest_seen": found.smallest,
        "needed": {
            f"{100 * size:g}": {"problems": found.problems_needed(size), "samples": found.samples_needed(size)}
            for size in SIZES
        },
    }


def _example(example: Example) -> dict[str, Any]:
    return {
        "problem_id": example.problem_id,
        "problem": example.question,
        "golds": example.golds,
        "before": {"rate": example.before, **_sample(example.sample_before)},
        "after": {"rate": example.after, **_sample(example.sample_after)},
    }


def _sample(scored: Scored) -> dict[str, Any]:
    grade = scored.grade
    told = {"correct": grade.correct, "reason": grade.reason, "answer": grade.answer}
    return {"sample": scored.sample.sample, **told, "text": scored.sample.text}


def _as_markdown(compared: list[Comparison], margin: float) -> str:
    parts = [f"# Comparison with `{compared[0].before.model}`"]
    for one in compared:
        parts += [f"## `{one.after.model}`", "\n".join(f"- {line}" for line in legend(one))]
        parts += [f"**{headline(one, margin)}**", *(f"**Note:** {note}" for note in notes(one))]
        parts += [f"{RESULT}; margin {100 * margin:g} points", markdown_table(result_table(one))]
        parts += [POWER, markdown_table(power_table(one))]
        parts += [MOVED, markdown_table(movement_table(one))] if one.movements else []
    return "\n\n".join(parts) + "\n"
