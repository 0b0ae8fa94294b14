r"""Grades the responses in a JSON Lines file with the grader that evaluations use.

{"id": "q1", "response": "... \\boxed{4}", "gold": "4"}
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepscaler.output.cells import Rows
from deepscaler.rewards.grade import Mode
from deepscaler.system.errors import UserError
from deepscaler.system.files import reason
from evaluation.report.tables import detail_table
from evaluation.samples import Sample
from evaluation.score import Scored, grade_samples, summarize

NOT_IN_A_FILE = ("mean tokens", "cut off")
"""Rows of the table that only an evaluation can fill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Names the columns that hold the parts of a line."""

    response: str = "response"
    gold: str = "gold"
    id: str = ""
    """Column that distinguishes problems; empty for `id` if a line has one, else the gold."""
    problem: str = ""
    """Column of the question; empty if the caller does not need it."""


def grade_file(file: Path, columns: Columns, *, thinking: bool, mode: Mode) -> list[Scored]:
    """Returns every line's grade. Raises UserError naming the line that cannot be graded."""
    seen: Counter[str] = Counter()
    with_golds: list[tuple[Sample, Any]] = []
    for problem, response, gold, _ in read_responses(file, columns):
        with_golds.append((_sample(problem, seen[problem], response), gold))
        seen[problem] += 1
    return grade_samples(with_golds, thinking=thinking, mode=mode)


def file_table(name: str, scored: list[Scored]) -> Rows:
    """Returns the table that a report prints, without the rows that a file cannot fill."""
    counts = Counter(one.sample.problem_id for one in scored)
    rows = detail_table([summarize(name, len(counts), max(counts.values()), scored)])
    return [row for row in rows if row[0] not in NOT_IN_A_FILE]


def read_responses(file: Path, columns: Columns) -> Iterator[tuple[str, str, Any, dict[str, Any]]]:
    """Yields the problem, response and gold of every line, and the line. Raises UserError naming an invalid one."""
    try:
        # "-sig" drops the mark that editors on Windows put first, and that JSON refuses.
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # splitlines() also cuts at separators inside texts
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {reason(error)}; give a JSON Lines file") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise UserError(f"{file} is empty; give a file with one JSON object per line")
    for number, line in numbered:
        where = f"{file}, line {number}"
        try:
            row = json.loads(line)
        # RecursionError, because the decoder follows nested brackets by recursion
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where} is not a JSON object ({reason(error)}); give one per line") from error
        has = ", ".join(map(repr, row)) if isinstance(row, dict) else "no columns"
        for option, column in asdict(columns).items():
            if column and (not isinstance(row, dict) or column not in row):
                raise UserError(f"{where} has no {column!r} but {has}; name it with --{option} COLUMN")
        if not isinstance(row[columns.response], str):
            raise UserError(f"{where}: {columns.response!r} is not a text; name another with --response COLUMN")
        # may be a number, or a list of golds, which no Counter takes
        key = row[columns.id] if columns.id else row.get("id", row[columns.gold])
        yield key if isinstance(key, str) else json.dumps(key), row[columns.response], row[columns.gold], row


def _sample(problem: str, number: int, text: str) -> Sample:
    return Sample(
        problem_id=problem,
        sample=number,
        text=text,
        prompt_tokens=0,
        response_tokens=0,
        finish_reason="stop",
        seed=0,
        started=0.0,
        finished=0.0,
    )
