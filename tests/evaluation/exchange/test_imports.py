"""Files that the real programs wrote become folders; hostile ones become one line."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.data.prepare import load_problems
from deepscaler.data.problem import SUFFIX
from evaluation.exchange import child, imports
from evaluation.folder import EvaluationFolder
from evaluation.results import read_results
from evaluation.samples import read_samples
from evaluation.score import read_scored
from tests.places import ROOT

FOREIGN = ROOT / "tests/golden/foreign"


def imported(file: Path, form: str, out: Path, *more: str) -> EvaluationFolder:
    assert main(["import", str(file), "--from", form, "--output-dir", str(out), *more]) == 0
    return EvaluationFolder(out)


def refused(file: Path, form: str, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main(["import", str(file), "--from", form, "--output-dir", str(out), *more]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(file) in error
    assert not (out / "config.json").exists()
    return error


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_samples_of_lm_eval_are_taken_over_once_though_two_filters_repeat_them(tmp_path: Path) -> None:
    file = tmp_path / "samples_sums_2026-11-27T21-16-51.218754.jsonl"
    file.write_bytes((FOREIGN / "lm-eval-0.4.13.jsonl").read_bytes())
    folder = imported(file, "lm-eval", tmp_path / "out")
    problems = {problem["problem"]: problem["golds"] for problem in folder.read_problems("sums")}
    assert problems == {"What is 12 + 30?": ["42"], "What is 2 + 2?": ["4"]}
    assert sorted(sample.text for sample in read_samples(folder.samples_path("sums"))) == ["", "", "", " 4."]
    config = folder.read_config()
    assert (config["temperature"], config["max_tokens"], config["top_p"]) == (0.6, 12, None)
    assert (config["engine"], config["num_samples"], config["thinking"]) == ("imported", 2, "no")
    assert config["imported"]["format"] == "lm-eval"
    assert config["imported"]["file"] == file.name


def test_details_of_lighteval_are_taken_over(tmp_path: Path) -> None:
    folder = imported(FOREIGN / "lighteval-0.13.0.parquet", "lighteval", tmp_path)
    one = read_results(tmp_path / "report.json").benchmarks["sums"]
    assert (one.num_problems, one.num_samples, one.pass_at_1.value) == (2, 4, 0.5)
    assert sorted(sample.response_tokens for sample in read_samples(folder.samples_path("sums"))) == [3, 3, 4, 4]
    assert folder.read_config()["thinking"] == "yes"


@pytest.mark.parametrize("suffix", ["eval", "json"])
def test_a_log_of_inspect_is_taken_over_with_its_verdicts(suffix: str, tmp_path: Path) -> None:
    folder = imported(FOREIGN / f"inspect-0.3.285.{suffix}", "inspect", tmp_path, "--thinking", "no")
    texts = {sample.text: sample for sample in read_samples(folder.samples_path("sums"))}
    reasoning = next(text for text in texts if text.startswith("<think>"))
    assert reasoning == "<think>hmm, 12 and 30 " + "x" * 300 + r"</think>so \boxed{41}"  # inspect stored it apart
    assert texts[r"\boxed{7}"].finish_reason == "length"
    assert texts[r"We add: \boxed{42}"].response_tokens == 5
    config = folder.read_config()
    assert (config["model"], config["temperature"], config["max_tokens"]) == ("mockllm/model", 0.6, 100)
    [note] = read_results(tmp_path / "report.json").warnings
    assert "disagrees on 0 of 4 samples" in note


def test_rollouts_of_verl_are_taken_over(tmp_path: Path) -> None:
    folder = imported(FOREIGN / "verl-0.9.1.jsonl", "verl", tmp_path)
    one = read_results(tmp_path / "report.json").benchmarks["step-8"]
    assert (one.num_samples, one.pass_at_1.value) == (3, pytest.approx(2 / 3))
    verdicts = [json.loads(line)["score"] for line in (tmp_path / "theirs/step-8.jsonl").read_text().splitlines()]
    assert verdicts == [float(one.grade.correct) for one in _in_file_order(folder, "step-8")]
    assert one.response_tokens["all"] is None


def _in_file_order(folder: EvaluationFolder, name: str) -> list[Any]:
    graded = {one.sample.key: one for one in read_scored(folder, name)}
    return [graded[sample.key] for sample in read_samples(folder.samples_path(name))]


def test_columns_are_named_as_for_grade_and_problems_of_a_benchmark_are_found(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [first, second, *_] = load_problems("aime", tmp_path, shared_data)
    question = first.question.removesuffix(SUFFIX)
    file = jsonl(
        tmp_path / "answers.jsonl",
        {"q": f"Solve this.  {question.replace(' ', chr(10), 3)}\nThink!", "out": r"\boxed{204}", "gts": "205"},
        {"q": second.question.removesuffix(SUFFIX), "out": r"\boxed{1}", "gts": second.golds[0]},
        {"q": "Something of their own?", "out": r"\boxed{1/2}", "gts": ["0.5", "1/2"]},
        {"q": "Something of their own?", "out": r"\boxed{3}", "gts": ["0.5", "1/2"]},
    )
    columns = ["--response", "out", "--gold", "gts", "--problem", "q", "--source", str(shared_data)]
    folder = imported(file, "jsonl", tmp_path / "out", *columns)
    assert "aime: 2 problems, 2 samples (a benchmark of the kit)" in capsys.readouterr().out
    found = {problem["id"]: problem for problem in folder.read_problems("aime")}
    assert found.keys() == {first.id, second.id}
    assert found[first.id]["problem"] == first.question
    assert found[first.id]["golds"] == ["204"]  # the kit's, by which it is right
    assert [one.grade.correct for one in read_scored(folder, "aime")] == [True, False]
    assert [one.grade.correct for one in read_scored(folder, "answers")] == [True, False]


def test_a_worked_example_in_every_prompt_is_not_taken_for_the_problem(tmp_path: Path, shared_data: Path) -> None:
    example = load_problems("aime", tmp_path, shared_data)[0].question.removesuffix(SUFFIX)
    rows = [{"problem": f"{example} Now: {n} + 1?", "response": r"\boxed{2}", "gold": str(n + 1)} for n in (1, 2)]
    folder = imported(jsonl(tmp_path / "few.jsonl", *rows), "jsonl", tmp_path / "out", "--source", str(shared_data))
    assert folder.read_config()["datasets"] == ["few"]


def test_two_imports_of_the_same_problems_have_the_same_ids(tmp_path: Path) -> None:
    row = {"problem": "1 + 1?", "response": r"\boxed{2}", "gold": 2}
    ids = []
    for name in ("one", "two"):
        folder = imported(jsonl(tmp_path / "mine.jsonl", {**row, "x": name}), "jsonl", tmp_path / name)
        ids.append(folder.read_problems("mine")[0]["id"])
    assert ids[0] == ids[1]


def test_what_a_file_does_not_tell_is_unknown_and_lengths_are_left_out(tmp_path: Path) -> None:
    row = {"problem": "1 + 1?", "response": r"<script>\boxed{2}", "gold": 2}
    imported(jsonl(tmp_path / "mine.jsonl", row), "jsonl", tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text()
    assert "temperature unknown" in page
    assert "Response lengths" not in page
    assert "<script>" not in page
    assert 'temperature "unknown"' in (tmp_path / "out/report.md").read_text()


def test_a_dry_run_writes_nothing_and_a_folder_is_never_written_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "out", FOREIGN / "verl-0.9.1.jsonl"
    assert main(["import", str(file), "--from", "verl", "--output-dir", str(out), "--dry-run"]) == 0
    assert "step-8: 3 problems, 3 samples" in capsys.readouterr().out
    assert not out.exists()
    imported(file, "verl", out)
    assert main(["import", str(file), "--from", "verl", "--output-dir", str(out)]) == 2
    assert "holds an evaluation already" in capsys.readouterr().err


def test_an_import_after_a_killed_one_mixes_no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"problem": "1 + 1?", "response": r"\boxed{2}", "gold": 2}
    killed = jsonl(tmp_path / "mine.jsonl", {**row, "response": "of A"}, {**row, "problem": "2 + 2?"})

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(imports, "write_json", stop)
        assert main(["import", str(killed), "--from", "jsonl", "--output-dir", str(out)]) == 130
    folder = EvaluationFolder(out)
    assert len(read_samples(folder.samples_path("mine"))) == 2
    imported(jsonl(tmp_path / "mine.jsonl", row), "jsonl", out)
    assert [sample.text for sample in read_samples(folder.samples_path("mine"))] == [r"\boxed{2}"]
    assert len(folder.read_problems("mine")) == 1
    assert not (out / imports.BEGUN).exists()


def test_folders_that_no_import_made_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples/mine.txt").touch()
    words = ["import", str(FOREIGN / "verl-0.9.1.jsonl"), "--from", "verl", "--output-dir", str(tmp_path)]
    assert main(words) == 2
    assert "samples exists, and no import has made it" in capsys.readouterr().err
    assert (tmp_path / "samples/mine.txt").exists()


GOOD = {"input": "1 + 1?", "output": "2", "gts": "2", "score": 1.0}


@pytest.mark.parametrize(
    ("content", "told"),
    {
        "empty": (b"", "is empty"),
        "torn": (
            json.dumps(GOOD).encode() + b"\n" + json.dumps(GOOD).encode()[:20],
            "line 2: not valid JSON .*cut off",
        ),
        "deep": (b"[" * 200_000, "nested too deeply"),
        "long line": (b'{"input": "' + b"x" * (17 << 20) + b'"}', "longer than 16 MiB"),
        "no text": (b'{"input": 1, "output": 2, "gts": "2", "score": 0}', "line 1 is not a row of verl's rollouts"),
        "a list": (b"[[1, 2]]", "row 1 is not a row of verl's rollouts"),
        "other columns": (b'{"response": "x"}', "it lacks 'input'"),
        "not UTF-8": (b'{"input": "\xff"}', "is not UTF-8"),
    }.values(),
)
def test_a_broken_file_is_named_with_its_line(
    content: bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(content)
    error = refused(file, "verl", tmp_path / "out", capsys)
    assert re.search(told, error), error


def test_more_responses_than_memory_takes_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "MOST_BYTES", 1 << 20)
    rows = [{"problem": f"{n}?", "response": "x" * 100_000, "gold": n} for n in range(20)]
    error = refused(jsonl(tmp_path / "many.jsonl", *rows), "jsonl", tmp_path / "out", capsys)
    assert "holds more than 1 MiB of responses, the most that an import takes; split it" in error


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name.replace("__", "/").replace("_json", ".json"), content)
    return path


HEADER = json.dumps({"eval": {"task": "t", "model": "m"}, "plan": {"config": {}}}).encode()


def test_logs_that_are_bombs_or_broken_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bomb = archive(tmp_path / "bomb.eval", header_json=HEADER, samples__a_json=b'"' + b"x" * (300 << 20) + b'"')
    assert bomb.stat().st_size < 1 << 20
    assert "larger than 256 MiB" in refused(bomb, "inspect", tmp_path / "1", capsys)
    started = archive(tmp_path / "started.eval", _journal__start_json=b"{}")
    assert "is not a complete log of inspect" in refused(started, "inspect", tmp_path / "2", capsys)
    other = archive(tmp_path / "other.eval", header_json=b"[1]")
    assert "is not a log of inspect" in refused(other, "inspect", tmp_path / "3", capsys)
    real = (FOREIGN / "inspect-0.3.285.eval").read_bytes()
    middle = real.find(b"q1_epoch_1.json") + 200
    torn = tmp_path / "torn.eval"
    torn.write_bytes(real[:middle] + b"\0" * 50 + real[middle + 50 :])
    assert "samples/q1_epoch_1.json cannot be read" in refused(torn, "inspect", tmp_path / "4", capsys)
    half = tmp_path / "half.eval"
    half.write_bytes(real[: len(real) // 2])
    assert "is not a complete log of inspect" in refused(half, "inspect", tmp_path / "5", capsys)


def test_a_wrong_format_is_told_to_check_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(FOREIGN / "verl-0.9.1.jsonl", "lm-eval", tmp_path / "out", capsys)
    assert "line 1 is not a row of lm-eval's samples (it lacks 'arguments'); check --from" in error
    error = refused(FOREIGN / "verl-0.9.1.jsonl", "jsonl", tmp_path / "out", capsys)
    assert "has no 'response' but 'input', 'output'" in error
