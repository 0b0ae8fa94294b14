"""Benchmarks of other laboratories: parquet rows of the forms that their cards describe."""

from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from deepscaler.data.prepare import read_problems
from deepscaler.data.sources import SOURCES
from deepscaler.system.errors import UserError

ARENA = {"problem_idx": 7, "problem": "Compute $1+1$.", "answer": r"\frac{4}{2}", "problem_type": ["Algebra"]}
"""The columns of MathArena's cards (hmmt_feb_2025, brumo_2025, cmimc_2025)."""

ROWS: dict[str, dict[str, Any]] = {
    "hmmt25": ARENA,
    "brumo25": ARENA,
    "cmimc25": ARENA,
    "aime26": {"problem_idx": 7, "answer": 277, "problem": "Compute $1+1$."},
    "amc23": {"id": 7, "question": "Compute $1+1$.", "answer": "27.0", "url": "https://a.org/2023_AMC_12A_Problems/7"},
}
"""One row of each set, as its card or pinned file has them; the problems are ours."""

GOLDS = {**dict.fromkeys(("hmmt25", "brumo25", "cmimc25"), r"\frac{4}{2}"), "aime26": "277", "amc23": "27.0"}


@pytest.mark.parametrize("name", ROWS)
def test_parquet_rows_become_problems_with_stable_ids(name: str, tmp_path: Path) -> None:
    source = SOURCES[name]
    parquet.write_table(pyarrow.Table.from_pylist([ROWS[name]]), tmp_path / f"{name}.parquet")
    (problem,), dropped, _ = read_problems(source, tmp_path)
    assert (problem.id, problem.golds, dropped) == (f"{name}/7", (GOLDS[name],), {})
    assert problem.question.startswith("Compute $1+1$. Let's think")


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "hmmt25.parquet").write_text("PAR0")
    with pytest.raises(UserError, match=r"hmmt25.parquet: cannot read parquet"):
        read_problems(SOURCES["hmmt25"], tmp_path)


def test_a_row_without_its_question_names_the_column(tmp_path: Path) -> None:
    parquet.write_table(
        pyarrow.Table.from_pylist([{"problem": "1?", "answer": 1, "id": 1}]), tmp_path / "amc23.parquet"
    )
    with pytest.raises(UserError, match="row 1 has no 'question'; every row needs 'question' and 'answer'"):
        read_problems(SOURCES["amc23"], tmp_path)


@pytest.mark.parametrize("name", ["aime25", "aime26", "amc23", "hmmt25", "brumo25", "cmimc25", "math_beyond"])
def test_every_set_of_others_is_pinned_by_a_whole_commit(name: str) -> None:
    source = SOURCES[name]
    assert len(source.revision) == 40
    assert source.revision in source.url
