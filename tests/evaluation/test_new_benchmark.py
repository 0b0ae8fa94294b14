"""A new benchmark is one row of one table: a test adds it to a copy of the packages, and every command knows it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepscaler.data.sources import SOURCES
from evaluation.folder import EvaluationFolder
from evaluation.report.published import PUBLISHED
from tests.places import copy_packages

ROW = """
    _from_hub(
        "gsm8k",
        1319,
        "grade school mathematics",
        "openai/gsm8k",
        "740312add88f781978c0658806c59bc2815b9866",
        "test.jsonl",
        title="GSM8K (test)",
        split="test",
    ),
"""


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the packages, in which one file has one row more."""
    folder = tmp_path_factory.mktemp("kit")
    copy_packages(folder)
    sources = folder / "deepscaler/data/sources.py"
    text = sources.read_text()
    sources.write_text(text.replace("\n_TABLE = (\n", f"\n_TABLE = (\n{ROW}", 1))
    assert sources.read_text() != text
    return folder


def deepscaler(kit: Path, *arguments: str) -> str:
    """Returns the output of a command of the changed packages; wide, so that no name is broken."""
    environment = {**os.environ, "PYTHONPATH": str(kit), "COLUMNS": "200"}
    command = [sys.executable, "-m", "deepscaler", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=kit)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed_and_offered(kit: Path) -> None:
    assert "grade school mathematics" in deepscaler(kit, "data", "list")
    assert "gsm8k" in deepscaler(kit, "evaluate", "--help")


def test_its_problems_are_looked_for_in_the_training_sets(kit: Path, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    question = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
    row = {"problem": question, "answer": "72"}
    (tmp_path / "gsm8k.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "train/math.json").write_text(json.dumps([row]))
    shown = deepscaler(kit, "data", "check", "--source", str(tmp_path))
    assert "1 of 1 test problems (gsm8k) against 1 training problems (math_train)" in shown


def test_its_title_stands_in_reports(kit: Path, finished: EvaluationFolder) -> None:
    for path in [path for path in finished.root.rglob("*") if path.is_file()]:
        path.write_text(path.read_text().replace("aime", "gsm8k"))
        path.rename(path.with_name(path.name.replace("aime", "gsm8k")))
    deepscaler(kit, "report", str(finished.root))
    assert "GSM8K (test)" in (finished.root / "report.md").read_text()
    assert "GSM8K (test)" in (finished.root / "report.html").read_text()


def test_published_numbers_are_of_benchmarks_in_the_table() -> None:
    assert {name for row in PUBLISHED for name in (*row.scores, *row.deviations)} <= SOURCES.keys()
