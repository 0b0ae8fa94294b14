"""From a folder of samples to its numbers."""

import json
from typing import Any

import pytest

from deepscaler.system.errors import UserError
from evaluation.folder import EvaluationFolder
from evaluation.samples import SampleStore
from evaluation.score import BenchmarkScores, _votes, read_scored, score_benchmark
from tests.evaluation.conftest import CONFIG, make_sample


def score(folder: EvaluationFolder, **changed: Any) -> BenchmarkScores:
    scores = score_benchmark(folder, "aime", {**CONFIG, **changed}, "kit", lambda: None)
    assert scores is not None
    return scores


def test_every_end_of_a_response_is_told_apart(finished: EvaluationFolder) -> None:
    scores = score(finished)
    assert scores.reasons == {"correct": 5, "no_box": 1, "no_think_end": 1, "wrong": 5}
    assert scores.num_truncated == 1
    assert scores.problem_means == {"aime/1": 1.0, "aime/2": 0.25, "aime/3": 0.0}
    assert scores.pass_at_1.value == 5 / 12
    assert scores.pass_at_k[4] == 2 / 3
    assert scores.majority == 1 / 3
    assert scores.is_complete


def test_a_model_that_does_not_think_is_judged_by_its_box(finished: EvaluationFolder) -> None:
    assert score(finished, thinking="no").reasons == {"correct": 5, "no_box": 2, "wrong": 5}


def test_scores_are_kept_in_order_whatever_order_samples_finished_in(finished: EvaluationFolder) -> None:
    score(finished)
    first = finished.scores_path("aime").read_bytes()
    lines = [json.loads(line) for line in first.splitlines()]
    assert [(line["problem_id"], line["sample"]) for line in lines] == [
        (f"aime/{p}", s) for p in (1, 2, 3) for s in range(4)
    ]
    path = finished.samples_path("aime")
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))
    score(finished)
    assert finished.scores_path("aime").read_bytes() == first


def test_an_unfinished_benchmark_says_so(finished: EvaluationFolder) -> None:
    path = finished.samples_path("aime")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:7]))
    scores = score(finished)
    assert not scores.is_complete
    assert sorted(scores.pass_at_k) == [1, 2]  # one problem has three samples, two have two


def test_wrong_answers_that_read_the_same_vote_together(finished: EvaluationFolder) -> None:
    path = finished.samples_path("aime")
    spelled = path.read_text().replace("boxed{8}", "boxed{7.0}").replace("boxed{9}", "boxed{x=7}")
    path.write_text(spelled.replace("</think>\\\\boxed{2}", "</think>\\\\boxed{6}"))
    assert score(finished).majority == 1 / 3
    votes = _votes([s for s in score(finished).scored if s.sample.problem_id == "aime/3"])
    assert len({vote for vote in votes if vote}) == 1


def test_samples_beyond_those_asked_for_do_not_count(finished: EvaluationFolder) -> None:
    with SampleStore(finished.samples_path("aime")) as store:
        store.append(make_sample(1, 999, "</think>"))
    assert len(score(finished).scored) == 12


def test_no_samples_are_no_scores(finished: EvaluationFolder) -> None:
    finished.samples_path("aime").unlink()
    assert score_benchmark(finished, "aime", CONFIG, "kit", lambda: None) is None


def test_stored_grades_are_read_beside_their_samples(finished: EvaluationFolder) -> None:
    with pytest.raises(UserError, match=r"12 samples .* have no grade; run `deepscaler report"):
        read_scored(finished, "aime")
    scores = score(finished)
    assert read_scored(finished, "aime") == scores.scored
    finished.scores_path("aime").write_text('{"problem_id": 1\n')
    with pytest.raises(UserError, match="cannot be read"):
        read_scored(finished, "aime")
