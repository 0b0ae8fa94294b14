"""`deepscaler compare` on real folders: what it refuses, what it finds, and what it writes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.system.files import write_json
from evaluation.compare.texts import common_prefix
from tests.deepscaler.runs.runs import make_chain
from tests.evaluation.compare.folders import right, write_folder, wrong
from tests.pages import assert_that_it_runs_and_loads_nothing

BASE = {0: 4, 1: 2, 2: 1, 5: 1}
BETTER = {0: 4, 1: 4, 2: 4, 3: 3, 4: 3, 5: 4}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "base", BASE).root


@pytest.fixture
def better(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "better", BETTER, model="org/better", weights="sha256:01").root


def compared(*paths: Path, options: tuple[str, ...] = ()) -> dict[str, Any]:
    out = paths[0].parent / "out"
    assert main(["compare", *map(str, paths), "--output-dir", str(out), *options]) == 0
    found: dict[str, Any] = json.loads((out / "compare.json").read_text())
    return found


def test_it_says_by_how_much_how_sure_and_where(base: Path, better: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(base, better)
    (one,) = found["comparisons"]
    aime = one["benchmarks"]["aime"]
    assert (aime["before"], aime["after"]) == pytest.approx((8 / 24, 22 / 24))
    assert aime["difference"]["value"] == pytest.approx(14 / 24)
    assert (aime["problems_up"], aime["problems_down"], aime["problems_left_out"]) == (5, 0, 0)
    assert aime["p"] == pytest.approx(2 / 2**5)  # five of six rise: the exact test cannot say more
    assert aime["verdict"] == "not enough evidence"
    assert one["mean"]["p"] < one["benchmarks"]["amc"]["p"] == aime["p"] < aime["p_adjusted"]
    assert one["mean"]["verdict"] == "better"
    assert one["movement"]["aime"]["gained"] == 14
    shown = capsys.readouterr().out
    assert "B is better than A on the mean of all benchmarks: +58.3 points" in shown
    assert max(map(len, shown.replace(str(base.parent), "").splitlines())) <= 80


def test_a_model_beside_itself_says_how_far_its_texts_move(base: Path, tmp_path: Path) -> None:
    again = write_folder(
        tmp_path / "again", {**BASE, 2: 2}, engine="transformers", texts=(right, lambda _: wrong(0) + "!")
    )
    (one,) = compared(base, again.root)["comparisons"]
    assert one["same_weights"]
    moved = one["movement"]["aime"]
    assert moved["num_pairs"] == 24
    assert (moved["lost"], moved["gained"]) == (0, 1)
    assert moved["num_identical"] == 8  # those that were right both times
    assert moved["prefix"] == len(wrong(0))
    assert 'engine: "vllm" -> "transformers"' in " ".join(one["notes"])
    page = (tmp_path / "out/compare.html").read_text()
    assert "same start" in page


def test_the_same_samples_are_the_same(base: Path) -> None:
    (one,) = compared(base, base)["comparisons"]
    assert one["mean"]["difference"]["value"] == 0
    assert one["movement"]["amc"]["num_identical"] == one["movement"]["amc"]["num_pairs"]
    assert one["regressions"]["aime"] == one["gains"]["aime"] == []


def test_examples_are_the_problems_that_moved_most_with_a_sample_of_each_kind(base: Path, better: Path) -> None:
    (one,) = compared(better, base)["comparisons"]
    assert one["gains"]["aime"] == []
    regressions = one["regressions"]["aime"]
    assert [example["problem_id"] for example in regressions] == ["aime/2", "aime/3", "aime/4"]
    for example in regressions:
        assert example["before"]["correct"] > example["after"]["correct"]
        assert example["before"]["sample"] == example["after"]["sample"]  # of one seed
    gains = compared(base, better)["comparisons"][0]["gains"]["amc"]
    assert [example["problem_id"] for example in gains] == ["amc/2", "amc/3", "amc/4"]


def test_several_models_are_adjusted_together(base: Path, better: Path, tmp_path: Path) -> None:
    alone = compared(base, better)["comparisons"][0]
    third = write_folder(tmp_path / "third", {**BASE, 3: 1}, model="org/third", weights="sha256:02")
    found = compared(base, better, third.root)
    assert [one["name"] for one in found["comparisons"]] == ["B", "C"]
    assert found["baseline"]["name"] == "A"
    first = found["comparisons"][0]
    assert first["benchmarks"]["aime"]["p"] == alone["benchmarks"]["aime"]["p"]
    assert first["benchmarks"]["aime"]["p_adjusted"] > alone["benchmarks"]["aime"]["p_adjusted"]
    assert first["mean"]["p_adjusted"] > alone["mean"]["p_adjusted"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"temperature": 0.8}, "temperature: 0.6 -> 0.8"),
        ({"max_tokens": 200}, "max_tokens: 100 -> 200"),
    ],
)
def test_other_protocols_are_refused_unless_they_are_compared_anyway(
    changes: dict[str, Any], told: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_folder(tmp_path / "other", BETTER, **changes).root
    for options in ((), ("--dry-run",)):
        assert main(["compare", str(base), str(other), *options]) == 2
        error = capsys.readouterr().err
        assert f"different protocols ({told}); evaluate one of them again, or add --anyway" in error
        assert error.count("\n") == 1
    (one,) = compared(base, other, options=("--anyway",))["comparisons"]
    assert one["protocol_differences"] == [told]
    for text in ((tmp_path / "out/compare.md").read_text(), capsys.readouterr().out):
        assert f"Different protocols, compared anyway: {told}" in " ".join(text.split())


def test_other_prompts_are_a_models_own_or_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_folder(tmp_path / "other", BETTER, prompt=1, thinking="no").root
    assert main(["compare", str(base), str(other)]) == 0
    assert "thinking: yes -> no; AIME 2024: 6 problems have different prompts" in " ".join(
        capsys.readouterr().out.split()
    )
    for folder in (base, other):
        write_json(folder / "provenance.json", {"chat_template_sha256": "00"})
    assert main(["compare", str(base), str(other)]) == 2
    assert "thinking: yes -> no; AIME 2024: 6 problems have different prompts" in capsys.readouterr().err


def test_other_golds_are_refused(base: Path, better: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = better / "problems/amc.jsonl"
    path.write_text(path.read_text().replace('["3"]', '["33"]'))
    assert main(["compare", str(base), str(better)]) == 2
    assert "AMC: 1 problems have different questions or golds" in capsys.readouterr().err


def test_only_common_problems_count_and_the_others_are_told(base: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", BETTER, num_problems=4, limit=4).root
    (one,) = compared(base, other)["comparisons"]
    assert (one["benchmarks"]["aime"]["problems"], one["benchmarks"]["aime"]["problems_left_out"]) == (4, 2)
    assert "AIME 2024: 2 problems that only one of them has were left out." in one["notes"]


def test_a_report_alone_gives_the_same_numbers_without_texts(base: Path, better: Path) -> None:
    (whole,) = compared(base, better)["comparisons"]
    (rates,) = compared(base / "report.json", better / "report.json")["comparisons"]
    assert rates["benchmarks"] == whole["benchmarks"]
    assert rates["mean"] == whole["mean"]
    assert rates["movement"] == {}
    assert "a report.json holds no prompts" in rates["notes"][0]


def test_rates_that_cannot_be_are_refused(base: Path, better: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("1.5", "NaN"):
        report = better / "report.json"
        found = json.loads(report.read_text())
        found["benchmarks"]["aime"]["problem_pass_rates"]["aime/3"] = float(text)
        report.write_text(json.dumps(found))
        assert main(["compare", str(base), str(report)]) == 2
        assert "aime/3 has an impossible rate of" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_written(base: Path, better: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = base.parent / "out"
    assert main(["compare", str(base), str(better), "--output-dir", str(out), "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"would compare {better} with {base} on aime, amc",
        *(f"would write {out / name}" for name in ("compare.json", "compare.md", "compare.html")),
    ]
    assert not out.exists()
    compared(base, better)
    assert sorted(path.name for path in out.iterdir()) == ["compare.html", "compare.json", "compare.md"]


def test_grades_of_the_original_grader_are_compared_once_they_are_there(
    base: Path, better: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(base), str(better), "--grader", "deepscaler"]
    assert main(words) == 2
    assert f"run `deepscaler report {base} --grader deepscaler`" in capsys.readouterr().err
    for folder in (base, better):
        assert main(["report", str(folder), "--grader", "deepscaler"]) == 0
    assert main(words) == 0
    assert main([*words[:2], str(better / "report.json"), *words[3:]]) == 2
    assert "grader: deepscaler -> kit" in capsys.readouterr().err


def test_what_is_no_evaluation_is_told_in_one_line(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = make_chain(tmp_path / "chain")
    (tmp_path / "empty").mkdir()
    for path, told in (
        (tmp_path / "nothing", "does not exist: give the --output-dir of `deepscaler evaluate`"),
        (tmp_path / "empty", "holds no scored evaluation"),
        (chain, f"is a training: give the evaluations of its models, such as {chain}/1-8k/evaluation"),
    ):
        assert main(["compare", str(base), str(path)]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(base), str(base), "--margin", "0"])
    assert "expected points above 0 and below 100" in capsys.readouterr().err


HOSTILE = '</pre><script>alert(1)</script><img src=x onerror="alert(1)">$model\x1b[31m'


def test_hostile_texts_stay_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def hostile(_: int) -> str:
        return rf"{HOSTILE}</think>\boxed{{{HOSTILE}}}" + "x" * 10_000

    base = write_folder(tmp_path / "base", BASE, texts=(right, hostile), model=f"org/{HOSTILE}")
    better = write_folder(tmp_path / "better", BETTER, texts=(right, hostile), weights="sha256:01")
    compared(base.root, better.root)
    page = (tmp_path / "out/compare.html").read_text()
    assert_that_it_runs_and_loads_nothing(page, shows={"svg", "table", "details"})
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert re.search(r"\[\.\.\. [\d,]+ characters omitted \.\.\.\]", page)
    assert "&lt;b&gt;0" in page or "What is &lt;b&gt;" in page
    assert "\x1b" not in capsys.readouterr().out + page


def test_texts_part_where_they_part() -> None:
    assert common_prefix("abcdef", "abcxef") == 3
    assert common_prefix("", "a") == 0
    assert common_prefix("same", "same") == 4
    assert common_prefix("a" * 1000 + "b", "a" * 1000 + "c") == 1000
