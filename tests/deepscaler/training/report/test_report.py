"""A training's report: one page that is safe to open, a picture, its numbers; faithful and fast are never mixed up."""

import json
import re
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.output.cells import Interval
from deepscaler.training.report.curves import smooth, smoothing_window
from tests.deepscaler.runs.runs import add_attempt, learning, make_chain, make_run, write_evaluation
from tests.pages import assert_that_it_runs_and_loads_nothing

HOSTILE = 'org/<script>alert(1)"&$model$\x1b'
PNG = b"\x89PNG\r\n\x1a\n"


def report(root: Path) -> str:
    assert main(["report", str(root)]) == 0
    return (root / "report.html").read_text(encoding="utf-8")


def test_a_run_gets_a_page_a_picture_and_its_series(tmp_path: Path) -> None:
    add_attempt(make_run(tmp_path), learning(8))
    page = report(tmp_path)
    assert page.count("<svg") == 4
    assert (tmp_path / "report.png").read_bytes().startswith(PNG)
    (stage,) = json.loads((tmp_path / "report.json").read_text())["stages"]
    assert [step for step, _ in stage["series"]["reward"]] == list(range(1, 9))
    assert [step for step, _ in stage["validation"]["acc"]["aime"]] == [0, 4, 8]
    assert not list(tmp_path.glob(".*"))


def test_the_same_run_makes_the_same_files(tmp_path: Path) -> None:
    make_chain(tmp_path)
    files = []
    for _ in range(2):
        report(tmp_path)
        files.append([(tmp_path / f"report.{kind}").read_bytes() for kind in ("html", "png", "json")])
    assert files[0] == files[1]


@pytest.mark.parametrize("num_steps", [1, 2, 50])
def test_any_number_of_steps_is_drawn(tmp_path: Path, num_steps: int) -> None:
    add_attempt(make_run(tmp_path, num_steps=50), learning(num_steps)[1:])
    page = report(tmp_path)
    assert ("partial" in page) == (num_steps < 50)
    assert ("none so far" in page) == (num_steps < 4)
    assert ("mean of 3 steps" in page) == (num_steps == 50)


def test_a_validation_before_the_first_step_is_enough(tmp_path: Path) -> None:
    add_attempt(make_run(tmp_path), learning(0))
    assert page_table(report(tmp_path), "progress")["AIME 2024 accuracy, %"] == ["28.0", "28.0"]


@pytest.mark.parametrize("profile", ["faithful", "fast"])
def test_the_title_names_the_profile(tmp_path: Path, profile: str) -> None:
    add_attempt(make_run(tmp_path, profile=profile), learning(2))
    page = report(tmp_path)
    assert f"<title>Training 8k (profile {profile})</title>" in page
    assert f"<h1>Training 8k (profile {profile})</h1>" in page


def test_a_chain_of_both_profiles_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_chain(tmp_path)
    add_attempt(make_run(tmp_path / "3-24k", name="24k", profile="fast"), learning(2))
    page = report(tmp_path)
    assert "8k (profile faithful) → 16k (profile faithful) → 24k (profile fast)</h1>" in page
    assert "The stages are of different profiles" in page
    assert "The stages are of different profiles" in capsys.readouterr().out


def test_the_page_runs_nothing_and_loads_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    manifest = run.read_manifest()
    manifest["recipe"] |= {"model": HOSTILE, "name": HOSTILE, "train_dataset": HOSTILE}
    run.manifest_path.write_text(json.dumps({**manifest, "model": {"name": HOSTILE}, HOSTILE: [HOSTILE]}))
    add_attempt(run, learning(3), host=HOSTILE)
    page = report(tmp_path)
    assert_that_it_runs_and_loads_nothing(page, shows={"svg", "table"})
    assert "&lt;script&gt;alert(1)&quot;&amp;$model$\ufffd" in page


def test_a_chain_adds_up_the_steps_and_marks_its_stages(tmp_path: Path) -> None:
    make_chain(tmp_path)
    page = report(tmp_path)
    written = json.loads((tmp_path / "report.json").read_text())
    assert [(stage["name"], stage["steps_before"]) for stage in written["stages"]] == [("8k", 0), ("16k", 8)]
    assert "step 12 of 16" in page
    assert "Not begun: 24k." in page
    assert len(re.findall(r"<text[^>]*>16k</text>", page)) == 4


def test_a_chain_shows_its_evaluations_with_intervals(tmp_path: Path) -> None:
    make_chain(tmp_path)
    page = report(tmp_path)
    assert page.count("<svg") == 5
    assert page_table(page, "changes") == {"after 8k, AIME 2024": ["+10.0 +3.7 to +16.3", "0.0028", "better"]}
    assert page_table(page, "evaluations") == {"start": ["30.0 20.0-38.0"], "after 8k": ["40.0 30.0-48.0"]}
    assert "differ in" not in page


def test_evaluations_by_different_protocols_are_not_compared_silently(tmp_path: Path) -> None:
    make_chain(tmp_path)
    write_evaluation(tmp_path / "2-16k" / "evaluation", num_samples=4, amc=Interval(0.6, 0.5, 0.68))
    page = report(tmp_path)
    assert "The evaluations differ in num_samples: not comparable." in page
    assert page_table(page, "evaluations")["after 16k"] == ["-", "60.0 50.0-68.0"]


def test_what_differs_from_the_defaults_stands_first(tmp_path: Path) -> None:
    add_attempt(make_run(tmp_path, learning_rate=2e-6), learning(2))
    differing = page_table(report(tmp_path), "recipe")
    assert set(differing) == {"num_steps", "learning_rate", "validate_every"}
    assert differing["num_steps"][:2] == ["8", "1,040"]


def test_the_table_shows_means_of_the_first_and_last_steps(tmp_path: Path) -> None:
    lines = learning(20)
    for step, data in lines[1:]:
        data["critic/score/mean"] = 0.25 if step <= 10 else 0.75
    add_attempt(make_run(tmp_path, num_steps=20), lines)
    assert page_table(report(tmp_path), "progress")["mean reward"] == ["0.250", "0.750"]


def test_parts_of_the_reward_and_both_bounds_of_clipping_have_a_row_and_a_series(tmp_path: Path) -> None:
    values = {
        "reward/grader/mean": 0.5,
        "reward/function/mean": 0.25,
        "reward/undecided/mean": 0.125,
        "actor/pg_clipfrac_high": 0.02,
        "actor/pg_clipfrac_low": 0.01,
    }
    add_attempt(make_run(tmp_path), [(step, {"critic/score/mean": 0.4, **values}) for step in (1, 2)])
    rows = page_table(report(tmp_path), "progress")
    assert rows["grader part of the reward"] == ["0.500", "0.500"]
    assert rows["function part of the reward"] == ["0.250", "0.250"]
    assert rows["undecided rewards, %"] == ["12.5", "12.5"]
    assert rows["clipped at the upper bound, %"] == ["2.0", "2.0"]
    assert rows["clipped at the lower bound, %"] == ["1.0", "1.0"]
    assert "overlong part of the reward" not in rows
    series = json.loads((tmp_path / "report.json").read_text())["stages"][0]["series"]
    assert series["grader_part"] == [[1, 0.5], [2, 0.5]]


def test_answers_that_could_not_be_graded_are_pointed_out(tmp_path: Path) -> None:
    lines = learning(4)
    lines[-1][1]["val-aux/aime/undecided/mean@8"] = 0.05
    add_attempt(make_run(tmp_path), lines)
    assert "up to 5 % of the answers in a validation on AIME 2024 could not be graded" in report(tmp_path)


def test_a_run_without_metrics_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    for _ in range(2):
        assert main(["report", str(tmp_path)]) == 2
        assert "holds no metrics yet" in (error := capsys.readouterr().err)
        assert error.count("\n") == 1
        run.attempt(1).root.mkdir(parents=True, exist_ok=True)
    assert not list(tmp_path.glob("report.*"))


def test_a_broken_evaluation_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_chain(tmp_path)
    (tmp_path / "0-base" / "evaluation" / "report.json").write_text('{"benchmarks": {"aime": {}}}')
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a report of this version of `deepscaler evaluate`" in capsys.readouterr().err


def test_a_running_mean_keeps_a_flat_curve_flat_to_its_ends() -> None:
    assert smooth([2.0] * 40, 5) == [2.0] * 40
    assert smooth([0.0, 3.0, 6.0], 3) == [1.5, 3.0, 4.5]
    assert [smoothing_window(num) for num in (0, 29, 45, 60, 10_000)] == [1, 1, 3, 5, 51]


def page_table(page: str, kind: str) -> dict[str, list[str]]:
    """The first table of a class: first cell -> the others, two lines as one."""
    found = re.search(rf'<div class="scroll {kind}">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert found
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in found[1].split("</tr>")[:-1]]
    return {row[0]: [cell.replace("<br>", " ") for cell in row[1:]] for row in rows}
