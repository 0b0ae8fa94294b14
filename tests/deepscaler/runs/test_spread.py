"""Intervals of a training's numbers come from its samples, and from nothing that only looks like them."""

import math
from pathlib import Path

import pytest

from deepscaler.output.cells import Interval
from deepscaler.runs.metrics import Metrics
from deepscaler.runs.prompts import Prompts
from deepscaler.runs.spread import MAX_FILES, reward_half_widths, validation_intervals
from evaluation.statistics import interval_of_share, pass_at_1
from tests.deepscaler.runs.runs import make_run
from tests.deepscaler.runs.samples import add_data, add_responses, prompt

OUTCOMES = {2: [1, 1, 0, 1], 3: [0, 0, 0, 0], 4: [1, 0, 1, 0]}


def logged(step: int, **shares: float) -> Metrics:
    return {step: {f"val-core/{name}/acc/mean@4": share for name, share in shares.items()}}


def interval(found: dict[str, dict[int, Interval]], dataset: str = "aime", step: int = 8) -> Interval:
    return found[dataset][step]


def test_an_interval_is_clustered_by_problem(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_responses(run, "validation", 8, OUTCOMES)
    found, all_measured = validation_intervals(run, logged(8, aime=5 / 12))
    assert all_measured
    assert interval(found) == pass_at_1([[value == 1 for value in row] for row in OUTCOMES.values()])


def test_samples_are_told_apart_by_the_data_set_of_their_problem(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_data(run, aime=[2], amc=[3, 4])
    add_responses(run, "validation", 8, OUTCOMES)
    found, all_measured = validation_intervals(run, logged(8, aime=0.75, amc=0.25))
    assert all_measured
    assert interval(found).value == 0.75
    assert interval(found, "amc") == pass_at_1([[False] * 4, [True, False] * 2])


@pytest.mark.parametrize("has_file", [False, True])
def test_another_validation_than_the_logged_one_is_not_taken_for_it(tmp_path: Path, has_file: bool) -> None:
    run = make_run(tmp_path)
    add_data(run, aime=range(2, 32))
    if has_file:  # written by verl under the same number, after the run was resumed from a merged model
        add_responses(run, "validation", 8, OUTCOMES)
    found, all_measured = validation_intervals(run, logged(8, aime=0.9))
    assert not all_measured
    assert interval(found) == interval_of_share(0.9, 30)


def test_without_samples_and_data_there_is_no_interval(tmp_path: Path) -> None:
    assert validation_intervals(make_run(tmp_path), logged(8, aime=0.9)) == ({}, True)


def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = add_responses(run, "validation", 8, OUTCOMES)
    path.write_text("[]\n{}\nnull\n" + path.read_text() + '{"input": "What')
    found, _ = validation_intervals(run, logged(8, aime=5 / 12))
    assert interval(found).value == pytest.approx(5 / 12)


def test_a_batch_counts_its_groups_not_its_responses(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_responses(run, "rollouts", 1, {2: [1] * 8, 3: [0] * 8, 4: [1] * 8, 5: [0] * 8})
    (half,) = reward_half_widths(run, [1, 2]).values()
    assert half == pytest.approx(3.182 * math.sqrt(1 / 3) / 2, rel=1e-3)  # Student's t of 3 degrees, 4 means of 0 and 1


def test_a_long_run_is_read_at_some_of_its_steps(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for step in range(1, 101):
        add_responses(run, "rollouts", step, {2: [1], 3: [0]})
    found = reward_half_widths(run, range(1, 101))
    assert len(found) == MAX_FILES
    assert {1, 100} <= set(found)


def test_a_prompt_belongs_to_the_question_that_it_asks_last(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_data(run, aime=[1, 2])
    prompts = Prompts([run.root / "data" / "validation.parquet"])
    assert prompts.find(prompt(2), ["2"]).id == "aime/2"  # type: ignore[union-attr]
    assert prompts.find(prompt(2), "2").id == "aime/2"  # type: ignore[union-attr]
    assert prompts.find(prompt(2), ["3"]) is None
    assert prompts.find("another prompt", ["2"]) is None
    assert prompts.num_problems == {"aime": 2}
