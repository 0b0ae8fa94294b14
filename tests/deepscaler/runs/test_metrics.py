"""A run's metrics are one curve, however often it was killed and resumed."""

import json
from pathlib import Path

import pytest

from deepscaler.runs.metrics import mean, quantity, read_metrics, series, validation
from deepscaler.system.errors import UserError
from tests.deepscaler.runs.runs import add_attempt, make_run

REWARD = "critic/score/mean"
ACCURACY = "val-core/aime/acc/mean@8"


def rewards(*values: float, first: int = 1) -> list[tuple[int, dict[str, float]]]:
    return [(step, {REWARD: value}) for step, value in enumerate(values, first)]


def test_a_run_without_attempts_has_no_metrics(tmp_path: Path) -> None:
    assert read_metrics(make_run(tmp_path)) == {}


def test_a_line_torn_by_a_kill_is_ignored(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = add_attempt(run, rewards(0.1, 0.2))
    path.write_bytes(path.read_bytes() + b'{"step":3,"data":{"critic/sc')
    assert quantity(read_metrics(run), "reward") == [(1, 0.1), (2, 0.2)]


def test_a_whole_line_that_is_not_verls_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = add_attempt(run, rewards(0.1))
    path.write_bytes(path.read_bytes() + b'{"step":2}\n')
    with pytest.raises(UserError, match=r"line 2 of .*metrics\.jsonl"):
        read_metrics(run)


def test_steps_that_are_done_again_replace_the_lost_ones(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, rewards(0.1, 0.2, 0.3, 0.4))
    add_attempt(run, rewards(0.35, first=3), resumed_step=2)
    assert quantity(read_metrics(run), "reward") == [(1, 0.1), (2, 0.2), (3, 0.35)]


def test_a_step_that_a_kill_kept_from_verls_log_has_its_numbers(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = add_attempt(run, [(1, {REWARD: 0.1, "timing_s/step": 9.0})])
    saved = path.with_name("saved.json")
    saved.write_text(json.dumps({"step": 1, "data": {REWARD: 0.1, "timing_s/step": 8.0}}) + "\n")
    assert read_metrics(run) == {1: {REWARD: 0.1, "timing_s/step": 9.0}}, "verl's log says more"
    saved.write_text(json.dumps({"step": 2, "data": {REWARD: 0.2}}) + "\n")
    assert list(read_metrics(run)) == [1, 2]
    add_attempt(run, [(2, {ACCURACY: 0.5})], resumed_step=2)
    assert read_metrics(run)[2] == {REWARD: 0.2, ACCURACY: 0.5}
    add_attempt(run, [], resumed_step=1)
    assert list(read_metrics(run)) == [1], "it was not saved after all"


def test_an_attempt_that_logged_nothing_still_undoes_what_it_resumed_before(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, rewards(0.1, 0.2, 0.3))
    add_attempt(run, [], resumed_step=1)
    assert list(read_metrics(run)) == [1]


def test_an_attempt_that_has_not_resumed_yet_undoes_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, rewards(0.1, 0.2))
    run.attempt(2).root.mkdir()
    assert list(read_metrics(run)) == [1, 2]


def test_validating_after_a_resume_keeps_the_training_metrics_of_that_step(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, [(2, {REWARD: 0.2, ACCURACY: 0.5})])
    add_attempt(run, [(2, {ACCURACY: 0.6})], resumed_step=2)
    assert read_metrics(run) == {2: {REWARD: 0.2, ACCURACY: 0.6}}


def test_steps_that_verl_counts_anew_are_the_runs_steps(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, rewards(0.1, 0.2, 0.3))
    add_attempt(run, [(0, {ACCURACY: 0.5}), (1, {REWARD: 0.4})], resumed_step=3, step_offset=3)
    metrics = read_metrics(run)
    assert quantity(metrics, "reward") == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
    assert series(metrics, ACCURACY) == [(3, 0.5)]


def test_what_is_no_finite_number_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    values = {"a": None, "b": float("nan"), "c": float("inf"), "d": True, "e": "x", "f": 2}
    add_attempt(run, [(1, values)])
    assert read_metrics(run) == {1: {"f": 2.0}}


def test_validations_are_found_whatever_the_data_set_and_the_number_of_samples() -> None:
    metrics = {
        0: {"val-core/aime/acc/mean@8": 0.1, "val-core/amc/acc/mean@4": 0.2, "val-aux/aime/no_box/mean@8": 0.3},
        5: {"val-core/aime/acc/mean@16": 0.4, "val-aux/aime/acc/mean@15": 0.9, "val-core/aime/acc/best@16/mean": 1.0},
    }
    assert validation(metrics) == {"aime": [(0, 0.1), (5, 0.4)], "amc": [(0, 0.2)]}
    assert validation(metrics, "no_box") == {"aime": [(0, 0.3)]}


def test_the_mean_of_nothing_is_unknown() -> None:
    assert mean([]) is None
    assert mean([(1, 2.0), (2, 4.0)]) == 3.0
