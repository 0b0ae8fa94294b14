"""The report: equal to its golden copy (`make golden` rewrites that), safe to open, and readable on a terminal."""

import io
import json
import os
import re

import pytest
from rich.console import Console

from deepscaler.cli import main
from evaluation.folder import EvaluationFolder
from evaluation.report.write import write_report
from tests.pages import assert_that_it_runs_and_loads_nothing
from tests.places import ROOT

GOLDEN = ROOT / "tests/golden"


@pytest.mark.parametrize("name", ["report.json", "report.md"])
def test_reports_equal_their_golden_copies(finished: EvaluationFolder, name: str) -> None:
    write_report(finished.root, Console(file=io.StringIO()))
    written = (finished.root / name).read_text(encoding="utf-8")
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / name).write_text(written, encoding="utf-8")
    assert written == (GOLDEN / name).read_text(encoding="utf-8"), "intended? then run: make golden"


def test_the_same_samples_make_the_same_page(finished: EvaluationFolder) -> None:
    pages = []
    for _ in range(2):
        write_report(finished.root, Console(file=io.StringIO()))
        pages.append((finished.root / "report.html").read_bytes())
    assert pages[0] == pages[1]


def test_the_page_runs_nothing_and_loads_nothing(finished: EvaluationFolder) -> None:
    write_report(finished.root, Console(file=io.StringIO()))
    page = (finished.root / "report.html").read_text(encoding="utf-8")
    assert_that_it_runs_and_loads_nothing(page, shows={"svg", "table", "details"})
    assert "&lt;script&gt;x&lt;/script&gt;" in page
    assert "$" not in re.sub(r"<(pre|text)[\s\S]*?</\1>", "", page)


def test_a_model_named_by_an_enemy_is_only_text(finished: EvaluationFolder) -> None:
    config = {**finished.read_config(), "model": '<img src=x onerror="alert(1)">/[red]$model\x1b[31m'}
    finished.config_path.write_text(json.dumps(config))
    output = io.StringIO()
    write_report(finished.root, Console(file=output))
    assert "<img" not in (finished.root / "report.html").read_text(encoding="utf-8")
    assert "[red]" in output.getvalue()
    assert "\x1b" not in output.getvalue()


def test_tables_fit_a_narrow_terminal(finished: EvaluationFolder) -> None:
    output = io.StringIO()
    write_report(finished.root, Console(file=output, width=80))
    text = output.getvalue()
    assert max(map(len, text.replace(str(finished.root), "").splitlines())) <= 80
    assert "DeepScaleR-1.5B-Preview" in text
    assert "43.1" in text


def test_a_partial_run_is_marked(finished: EvaluationFolder) -> None:
    path = finished.samples_path("aime")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:7]))
    report = write_report(finished.root, Console(file=io.StringIO()))
    assert "AIME 2024 is partial: 7 of 12 samples." in report.warnings
    assert "is partial" in (finished.root / "report.html").read_text(encoding="utf-8")


def test_the_command_scores_again_with_either_grader(finished: EvaluationFolder) -> None:
    assert main(["report", str(finished.root), "--grader", "deepscaler"]) == 0
    assert json.loads((finished.root / "report-deepscaler.json").read_text())["grader"] == "deepscaler"
    assert not (finished.root / "report.json").exists()
    assert main(["report", str(finished.root)]) == 0
    assert json.loads((finished.root / "report.json").read_text())["grader"] == "kit"


def test_another_protocol_than_the_published_one_is_said(finished: EvaluationFolder) -> None:
    report = write_report(finished.root, Console(file=io.StringIO()))
    (warning,) = report.warnings
    assert warning.startswith("The protocol is deepscaler except num_samples 4, max_tokens 100: not comparable")


def test_attempts_that_differ_are_said(finished: EvaluationFolder) -> None:
    attempts = [{"versions": {"vllm": "0.24.0"}}, {"versions": {"vllm": "0.28.0"}}]
    finished.provenance_path.write_text(json.dumps({"attempts": attempts}))
    report = write_report(finished.root, Console(file=io.StringIO()))
    assert "The samples were drawn in 2 attempts that differ in versions." in report.warnings


def test_a_model_that_never_ends_its_thinking_is_pointed_out(finished: EvaluationFolder) -> None:
    path = finished.samples_path("aime")
    path.write_text(path.read_text().replace("</think>", ""))
    report = write_report(finished.root, Console(file=io.StringIO()))
    assert any("use --thinking no" in warning for warning in report.warnings)


def test_undecided_answers_are_pointed_out(finished: EvaluationFolder) -> None:
    path = finished.samples_path("aime")
    path.write_text(path.read_text().replace("boxed{7}", r"boxed{\\sin(10^{10^7})}"))
    problems = finished.problems_path("aime")
    problems.write_text(problems.read_text().replace('"golds": ["3"]', r'"golds": ["\\sin(10^{10^8})"]'))
    report = write_report(finished.root, Console(file=io.StringIO()))
    assert any("of 12 answers could not be graded in time" in warning for warning in report.warnings)


def test_a_folder_without_samples_is_told_what_to_do(
    finished: EvaluationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    finished.samples_path("aime").unlink()
    assert main(["report", str(finished.root)]) == 2
    assert "run `deepscaler evaluate`" in capsys.readouterr().err
