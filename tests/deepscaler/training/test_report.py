"""The report of a training: complete, safe to open, and the same for the same files."""

import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from deepscaler.cli import main
from deepscaler.files import write_json
from deepscaler.training.report import write_training_report
from tests.deepscaler.training.runs import add_attempt, interval, learning, make_chain, make_run

HOSTILE = '<script>alert("$x")</script>[red]\x1b[31m'


def report_on(directory: Path) -> tuple[str, str]:
    """The page, and what was printed."""
    output = io.StringIO()
    write_training_report(directory, Console(file=output, width=80))
    return (directory / "report.html").read_text(encoding="utf-8"), output.getvalue()


class _Tags(HTMLParser):
    """Collects every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_a_run_is_reported_with_all_its_files(tmp_path: Path) -> None:
    add_attempt(make_run(tmp_path), learning(8), ended="x", outcome="finished", step=8)
    page, printed = report_on(tmp_path)
    assert page.count("<svg") == 4
    assert "8k (profile faithful)" in page
    assert "finished" in page
    assert "0.9.1" in page
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert f"Report: {tmp_path / 'report.html'}" in printed
    assert max(map(len, printed.replace(str(tmp_path), "").splitlines())) <= 80


def test_the_json_holds_every_series(tmp_path: Path) -> None:
    add_attempt(make_run(tmp_path), [(1, {"critic/score/mean": 0.25, "val-core/aime/acc/mean@8": 0.5})])
    report_on(tmp_path)
    (stage,) = json.loads((tmp_path / "report.json").read_text())["stages"]
    assert stage["series"]["reward"] == [[1, 0.25]]
    assert stage["validation"]["acc"]["aime"] == [[1, 0.5]]
    assert stage["profile"] == "faithful"


def test_the_profile_is_named_in_the_title(tmp_path: Path) -> None:
    add_attempt(make_run(tmp_path, profile="fast", fused_kernels=True), learning(8))
    page, printed = report_on(tmp_path)
    assert "<h1>Training 8k (profile fast)</h1>" in page
    assert "8k (profile fast)" in printed


def test_what_differs_from_the_defaults_comes_first(tmp_path: Path) -> None:
    add_attempt(make_run(tmp_path, temperature=1.0), learning(8))
    page, _ = report_on(tmp_path)
    assert page.index("<td>temperature</td>") < page.index("have their defaults") < page.index("<td>grad_clip</td>")


def test_a_chain_is_reported_with_its_evaluations(tmp_path: Path) -> None:
    page, printed = report_on(make_chain(tmp_path))
    assert page.count("<svg") == 5
    assert "30.0<br>20.0-38.0" in page
    assert "after 8k" in printed
    assert "16k is partial: 4 of 8 steps." in printed
    evaluations = json.loads((tmp_path / "report.json").read_text())["evaluations"]
    assert [one["name"] for one in evaluations] == ["start", "after 8k"]


def test_evaluations_by_different_protocols_are_pointed_out(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    other = {"grader": "deepscaler", "config": {"num_samples": 16}, "benchmarks": {"aime": interval(0.4)}}
    write_json(chain / "1-8k/evaluation/report.json", other)
    assert "The evaluations differ in grader: not comparable." in " ".join(report_on(chain)[1].split())


def test_an_evaluation_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain = make_chain(tmp_path)
    write_json(chain / "0-base/evaluation/report.json", {"benchmarks": {"aime": {}}})
    assert main(["report", str(chain)]) == 2
    assert "is no report of `deepscaler evaluate`" in capsys.readouterr().err


def test_all_attempts_are_listed_with_their_outcome(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(4), ended="x", outcome="stopped", step=4)
    add_attempt(run, learning(4, first=5), host="node18", resumed_step=4)
    page, _ = report_on(tmp_path)
    assert "<td>stopped</td>" in page
    assert "<td>node18</td>" in page


def test_the_same_files_make_the_same_page(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    assert report_on(chain) == report_on(chain)


def test_a_stranger_s_strings_are_only_text(tmp_path: Path) -> None:
    run = make_run(tmp_path, name=HOSTILE, model=HOSTILE)
    add_attempt(run, [*learning(8), (9, {f"val-core/{HOSTILE}/acc/mean@8": 0.5})], host=HOSTILE)
    page, printed = report_on(tmp_path)
    tags = _Tags()
    tags.feed(page)
    assert not {name for name, _ in tags.seen} & {"script", "iframe", "object", "link", "img"}
    assert not [key for _, attrs in tags.seen for key in attrs if key.startswith("on")]
    values = [value for _, attrs in tags.seen for key, value in attrs.items() if key in ("src", "href")]
    assert not [value for value in values if not (value or "").startswith("#")]
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page + printed
    assert "[red]" in printed


def test_without_a_finished_step_there_is_nothing_to_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path)
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "holds no metrics yet" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_a_grader_is_for_evaluations_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_attempt(make_run(tmp_path), learning(8))
    assert main(["report", str(tmp_path), "--grader", "deepscaler"]) == 2
    assert "is for evaluations" in capsys.readouterr().err
