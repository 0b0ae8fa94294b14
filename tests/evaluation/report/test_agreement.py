"""A run beside what was published of the same model: agreeing or not, by how much, and what differs."""

import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from deepscaler.output.cells import Interval
from deepscaler.rewards import Grade
from evaluation.folder import EvaluationFolder
from evaluation.report.agreement import agreement, own_variance
from evaluation.report.write import write_report
from evaluation.samples import Sample
from evaluation.score import BenchmarkScores, Scored, summarize

CONFIG: dict[str, Any] = {
    "protocol": "deepscaler",
    "model": "agentica-org/DeepScaleR-1.5B-Preview",
    "datasets": ["aime"],
    "num_samples": 16,
    "thinking": "yes",
}
"""The published figure is 43.1 on AIME 2024."""


def scores(outcomes: "np.ndarray[Any, np.dtype[np.bool_]]") -> BenchmarkScores:
    """Returns the benchmark of a table of grades, problems x samples."""
    scored = [
        Scored(
            sample=Sample(
                problem_id=f"aime/{problem}",
                sample=number,
                text="",
                prompt_tokens=1,
                response_tokens=1,
                finish_reason="stop",
                seed=0,
                started=0,
                finished=0,
            ),
            grade=Grade(bool(correct), "1", "correct" if correct else "wrong"),
        )
        for problem, row in enumerate(outcomes)
        for number, correct in enumerate(row)
    ]
    return summarize("aime", len(outcomes), outcomes.shape[1], scored)


def drawn(mean: float, seed: int = 1) -> BenchmarkScores:
    """Returns 30 problems of different difficulty, 16 samples each."""
    random = np.random.default_rng(seed)
    return scores(random.random((30, 16)) < random.beta(2 * mean, 2 * (1 - mean), (30, 1)))


def told(one: BenchmarkScores, config: dict[str, Any] = CONFIG, **provenance: Any) -> list[str]:
    return agreement([one], config, provenance, "kit")


def test_a_run_that_chance_explains_agrees() -> None:
    one = next(one for one in (drawn(0.43, seed) for seed in range(20)) if abs(one.pass_at_1.value - 0.43) < 0.03)
    sentence, _ = told(one)
    assert sentence.startswith(f"AIME 2024: {100 * one.pass_at_1.value:.1f} agrees with the 43.1 of DeepScaleR README")


@pytest.mark.parametrize(("mean", "side"), [(0.2, "below"), (0.7, "above")])
def test_a_run_that_chance_does_not_explain_lies_apart(mean: float, side: str) -> None:
    one = drawn(mean)
    sentence, _ = told(one)
    gap = abs(100 * one.pass_at_1.value - 43.1)
    assert f"is {gap:.1f} points {side} the 43.1 of DeepScaleR README, more than chance (p < 0.001)" in sentence


def test_only_rows_of_the_same_model_and_protocol_are_compared() -> None:
    one = drawn(0.4)
    assert told(one, {**CONFIG, "model": "org/another"}) == []
    assert told(one, {**CONFIG, "protocol": "r1"}) == []
    assert told(one, {**CONFIG, "protocol": None}) == []
    assert "of Sober Look" in told(one, {**CONFIG, "protocol": "sober"})[0]


def test_what_differs_is_listed() -> None:
    config = {**CONFIG, "temperature": 0.8, "num_samples": 4}
    engine = {"name": "vllm", "version": "0.24.0", "dtype": "bfloat16", "device": "cuda"}
    last = told(drawn(0.4), config, engine=engine, versions={"torch": "2.11.0"})[-1]
    for part in (
        "here num_samples 4",
        "here temperature 0.8",
        "graded there by DeepScaleR's rules, here by this kit's rules (`deepscaler report --grader deepscaler` applies",
        "vLLM 0.6.3 or older",
        "here vllm 0.24.0 bfloat16 cuda, torch 2.11.0",
    ):
        assert part in last
    graded = agreement([drawn(0.4)], config, {}, "deepscaler")[-1]
    assert "graded there" not in graded


def test_the_variance_is_that_of_other_samples_of_the_same_problems() -> None:
    random = np.random.default_rng(3)
    rates = random.beta(0.8, 1.2, (30, 1))
    means = (random.random((2000, 30, 16)) < rates).mean(axis=(1, 2))
    estimates = [own_variance(scores(random.random((30, 16)) < rates)) for _ in range(40)]
    assert np.mean(estimates) == pytest.approx(1e4 * means.var(), rel=0.1)


def test_two_runs_of_one_model_are_said_to_differ_in_one_of_twenty() -> None:
    random = np.random.default_rng(4)
    rates = random.beta(0.8, 1.2, (30, 1))
    truth = 43.1 / 100
    rates = np.clip(rates * truth / rates.mean(), 0, 1)
    published = 100 * (random.random((300, 30, 16)) < rates).mean(axis=(1, 2))
    apart = 0
    for figure in published:
        one = scores(random.random((30, 16)) < rates)
        gap = abs(100 * one.pass_at_1.value - figure)
        apart += gap > 1.96 * (2 * own_variance(one)) ** 0.5
    assert apart / len(published) == pytest.approx(0.05, abs=0.03)


def test_one_sample_a_problem_bounds_the_variance() -> None:
    one = scores(np.arange(40).reshape(40, 1) % 2 == 0)
    assert own_variance(one) == pytest.approx(1e4 * 0.25 / 40)
    assert isinstance(one.pass_at_1, Interval)


def test_the_report_says_it_everywhere(finished: EvaluationFolder) -> None:
    config = {**finished.read_config(), "model": "agentica-org/DeepScaleR-1.5B-Preview"}
    finished.config_path.write_text(json.dumps(config))
    output = io.StringIO()
    write_report(finished.root, Console(file=output, width=200))
    for text in (
        output.getvalue(),
        (finished.root / "report.md").read_text(encoding="utf-8"),
        (finished.root / "report.html").read_text(encoding="utf-8"),
    ):
        assert "AIME 2024: 41.7 agrees with the 43.1 of DeepScaleR README" in text
        assert "What differs from DeepScaleR README: here num_samples 4; here max_tokens 100" in text


def test_another_protocols_rows_are_shown_when_asked_for(finished: EvaluationFolder) -> None:
    write_report(finished.root, Console(file=io.StringIO()), published="sober")
    text = (finished.root / "report.md").read_text(encoding="utf-8")
    assert "VibeThinker-1.5B" in text
    assert "DeepScaleR README" not in text.split("## Details")[0]
    write_report(finished.root, Console(file=io.StringIO()), published="all")
    assert "Sober Look, protocol sober" in (finished.root / "report.md").read_text(encoding="utf-8")


def test_imported_samples_of_no_known_protocol_are_shown_without_published_rows(finished: EvaluationFolder) -> None:
    config = {**finished.read_config(), "protocol": None, "prompt": None, "temperature": None}
    rows = write_report_with(finished, config)
    assert "some-model" in rows
    assert "README" not in rows


def write_report_with(finished: EvaluationFolder, config: dict[str, Any]) -> str:
    from evaluation.report.tables import comparison_table, protocol_table  # noqa: PLC0415

    one = drawn(0.4)
    return json.dumps([comparison_table([one], config), protocol_table(config, "kit")[:2]])
