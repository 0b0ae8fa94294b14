"""report.json is read by the module that writes it, and nothing is lost between the two."""

import json
from pathlib import Path
from typing import Any

import pytest

from deepscaler.system.errors import UserError
from evaluation.results import Lengths, read_results, write_results
from tests.places import ROOT

GOLDEN = ROOT / "tests/golden/report.json"


def test_what_is_read_is_written_as_it_was(tmp_path: Path) -> None:
    results = read_results(GOLDEN)
    write_results(tmp_path / "report.json", results)
    assert (tmp_path / "report.json").read_text() == GOLDEN.read_text()
    assert results.pass_at_1["aime"].value == pytest.approx(5 / 12)
    assert results.benchmarks["aime"].pass_at_k[4] == pytest.approx(2 / 3)
    assert results.benchmarks["aime"].response_tokens["correct"] == Lengths(mean=13.2, median=12, p95=20, max=20)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 2}, "schema 2 instead of 1"),
        ({"benchmarks": {"aime": {}}}, "KeyError('problems')"),
        ({"benchmarks": []}, "AttributeError"),
        ({"config": 5}, "TypeError"),
        ({"average": "high"}, "ValueError"),
    ],
)
def test_another_version_or_a_broken_report_is_refused_with_what_to_do(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(json.loads(GOLDEN.read_text()) | change))
    with pytest.raises(UserError, match=r"report\.json is not a report of this version") as raised:
        read_results(file)
    assert reason in str(raised.value)
    assert str(raised.value).endswith(f"write it again: deepscaler report {tmp_path}")


def test_no_lengths_have_no_summary() -> None:
    assert Lengths.of([]) is None
