"""What is exported reads back: by this kit, by Hugging Face's own reader of model cards, and by inspect."""

import json
from pathlib import Path

import pytest

from deepscaler.cli import main
from evaluation.folder import EvaluationFolder
from evaluation.results import read_results
from evaluation.samples import read_samples
from evaluation.score import read_scored


@pytest.fixture
def reported(finished: EvaluationFolder) -> EvaluationFolder:
    assert main(["report", str(finished.root)]) == 0
    return finished


def exported(folder: EvaluationFolder, form: str) -> Path:
    assert main(["export", str(folder.root), "--to", form]) == 0
    [path] = (folder.root / "exports").iterdir()
    return path


@pytest.mark.parametrize("form", ["inspect", "lm-eval"])
def test_an_export_read_back_is_the_same_evaluation(form: str, reported: EvaluationFolder, tmp_path: Path) -> None:
    path = exported(reported, form)
    assert main(["import", str(path), "--from", form, "--output-dir", str(tmp_path / "back")]) == 0
    back = EvaluationFolder(tmp_path / "back")
    [name] = back.read_config()["datasets"]

    def told(folder: EvaluationFolder, dataset: str) -> list[tuple[object, ...]]:
        questions = {problem["id"]: problem["problem"] for problem in folder.read_problems(dataset)}
        return sorted(
            (questions[one.sample.problem_id], one.sample.sample, one.sample.text, one.grade.correct)
            for one in read_scored(folder, dataset)
        )

    assert told(back, name) == told(reported, "aime")
    assert back.read_config()["temperature"] == 0.6
    ours, theirs = (read_results(folder.report_path("json")).benchmarks for folder in (reported, back))
    assert theirs[name].pass_at_1 == ours["aime"].pass_at_1
    if form == "inspect":
        lengths = [
            sorted(s.response_tokens for s in read_samples(f.samples_path(n)))
            for f, n in ((reported, "aime"), (back, name))
        ]
        assert lengths[0] == lengths[1]
        assert (
            read_results(back.report_path("json")).warnings[-1].startswith(f"{name}: the file's own grader disagrees")
        )
        assert "disagrees on 0 of 12" in read_results(back.report_path("json")).warnings[-1]


def test_inspect_itself_reads_its_log(reported: EvaluationFolder) -> None:
    reason = "needs inspect-ai, which pins other versions than this environment: try it in one of its own"
    log = pytest.importorskip("inspect_ai.log", reason=reason).read_eval_log(str(exported(reported, "inspect")))
    assert (log.status, log.eval.model, len(log.samples)) == ("success", "org/some-model", 12)
    scores = [sample.scores["deepscaler"].value for sample in log.samples]
    assert scores.count("C") == sum(one.grade.correct for one in read_scored(reported, "aime"))


def test_hugging_face_reads_the_metadata_of_the_card(reported: EvaluationFolder) -> None:
    card_of = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub").ModelCard
    path = exported(reported, "model-index")
    card = card_of(f"---\n{path.read_text()}---\n# a model\n")
    [result] = card.data.eval_results
    value = read_results(reported.report_path("json")).benchmarks["aime"].pass_at_1.value
    assert (result.metric_type, result.metric_value) == ("pass@1", pytest.approx(100 * value, abs=0.01))
    assert (result.task_type, result.dataset_type, result.dataset_name) == ("text-generation", "aime", "AIME 2024")
    assert "n 4, temperature 0.6, top_p 0.95, max_tokens 100" in result.metric_name
    assert "95% interval" in result.metric_name


def test_a_dry_run_names_the_files_and_writes_none(
    reported: EvaluationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["export", str(reported.root), "--to", "inspect", "--dry-run"]) == 0
    assert "exports/aime.inspect.json (" in capsys.readouterr().out
    assert not (reported.root / "exports").exists()


def test_an_evaluation_without_a_report_is_told_to_write_it(
    finished: EvaluationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(finished.root), "--to", "inspect"]) == 2
    assert "report.json cannot be read" in capsys.readouterr().err
    assert json.loads(finished.config_path.read_text())
