"""Metrics of several attempts are one curve: the later attempt counts, torn lines and lost steps do not."""

from pathlib import Path

import pytest

from deepscaler.errors import UserError
from deepscaler.training.metrics import mean, quantity, read_metrics, validation
from tests.deepscaler.training.runs import add_attempt, make_run

REWARD = "critic/score/mean"


def test_where_attempts_overlap_the_later_one_counts(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, [(step, {REWARD: 0.1}) for step in (1, 2, 3, 4)])
    add_attempt(run, [(step, {REWARD: 0.9}) for step in (3, 4, 5)], resumed_step=2)
    assert quantity(read_metrics(run), "reward") == [(1, 0.1), (2, 0.1), (3, 0.9), (4, 0.9), (5, 0.9)]


def test_steps_beyond_the_checkpoint_that_was_resumed_from_are_gone(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, [(step, {REWARD: 0.1}) for step in (1, 2, 3, 4)])
    add_attempt(run, [], resumed_step=2)
    assert list(read_metrics(run)) == [1, 2]


def test_an_attempt_that_never_decided_where_to_go_on_from_loses_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, [(1, {REWARD: 0.1})])
    run.attempt(2).root.mkdir()
    assert list(read_metrics(run)) == [1]


def test_steps_are_counted_on_where_verl_counts_anew(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, [(1, {REWARD: 0.1}), (2, {REWARD: 0.2})])
    add_attempt(run, [(1, {REWARD: 0.3})], resumed_step=2, step_offset=2)
    assert quantity(read_metrics(run), "reward") == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_a_validation_after_resuming_leaves_the_step_its_other_metrics(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, [(4, {REWARD: 0.4, "val-core/aime/acc/mean@8": 0.25})])
    add_attempt(run, [(4, {"val-core/aime/acc/mean@8": 0.3})], resumed_step=4)
    metrics = read_metrics(run)
    assert quantity(metrics, "reward") == [(4, 0.4)]
    assert validation(metrics) == {"aime": [(4, 0.3)]}


def test_a_last_line_torn_by_a_kill_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = add_attempt(run, [(1, {REWARD: 0.1})])
    path.write_bytes(path.read_bytes() + b'{"step": 2, "data": {"critic/sc')
    assert list(read_metrics(run)) == [1]


@pytest.mark.parametrize("line", ["{", "[]", '{"step": 2}', '{"step": "x", "data": {}}', '{"step": 2, "data": 3}'])
def test_any_other_line_that_is_not_verls_is_named(tmp_path: Path, line: str) -> None:
    run = make_run(tmp_path)
    path = add_attempt(run, [(1, {REWARD: 0.1})])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"line 2 of .*metrics\.jsonl is none of verl's metrics"):
        read_metrics(run)


def test_only_finite_numbers_are_metrics(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, [(1, {REWARD: None, "actor/entropy": float("nan"), "a": "text", "b": True, "actor/grad_norm": 1})])
    assert read_metrics(run) == {1: {"actor/grad_norm": 1.0}}


def test_of_several_counts_of_samples_the_largest_is_the_mean_over_all() -> None:
    metrics = {4: {"val-core/a/b/acc/mean@8": 0.3, "val-core/a/b/acc/mean@7": 1.0, "val-aux/a/b/no_box/mean@8": 0.1}}
    assert validation(metrics) == {"a/b": [(4, 0.3)]}
    assert validation(metrics, "no_box") == {"a/b": [(4, 0.1)]}


def test_a_run_without_attempts_has_no_metrics(tmp_path: Path) -> None:
    assert read_metrics(make_run(tmp_path)) == {}


def test_the_mean_of_nothing_is_not_known() -> None:
    assert mean([]) is None
    assert mean([(1, 2.0), (2, 4.0)]) == 3.0
