"""Contamination and contradicting golds are found."""

import json
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.data.check import contamination
from deepscaler.data.problem import Problem, ask

LONG = "A train leaves the station at noon and travels west at a constant speed of {} miles per hour until it stops"


def problem(identifier: str, question: str) -> Problem:
    return Problem(id=identifier, data_source="x", prompt=ask(question), golds=("1",))


def test_exact_copies_are_found_whatever_their_spacing_and_case() -> None:
    found = contamination([problem("train/1", LONG.format(60))], [problem("test/1", LONG.format(60).upper() + " $ $")])
    assert [(o.test_id, o.train_id, o.kind) for o in found] == [("test/1", "train/1", "exact")]


def test_near_copies_are_told_from_exact_ones() -> None:
    found = contamination([problem("train/1", LONG.format(60))], [problem("test/1", LONG.format(60) + " at last")])
    assert [o.kind for o in found] == ["near"]
    assert 0.5 <= found[0].similarity < 1


def test_different_problems_do_not_match() -> None:
    assert (
        contamination([problem("train/1", LONG.format(60))], [problem("test/1", "How many primes lie below 100?")])
        == []
    )


def test_check_finds_minervas_contradictions(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "findings.json"
    assert main(["data", "check", "--source", str(shared_data), "--output", str(output)]) == 0
    findings = json.loads(output.read_text())
    listed = {f"minerva/{row['idx']}" for row in json.loads((shared_data / "minerva_wrong_golds.json").read_text())}
    assert len(listed - {c["test_id"] for c in findings["contradictions"]}) <= 2
    assert "Test problems in the training sets" in capsys.readouterr().out
