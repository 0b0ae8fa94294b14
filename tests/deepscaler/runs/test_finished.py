"""A run is finished once its last step is saved and validated; a validation that a kill took is made up."""

from dataclasses import replace
from pathlib import Path

import pytest

from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.finished import is_finished, lacks_validation
from tests.deepscaler.runs.runs import add_attempt, learning, make_run, seal_checkpoint

RECIPE = Recipe(num_steps=8, validate_every=4)


def logged_to(step: int) -> list[tuple[int, dict[str, float]]]:
    return [(number, values) for number, values in learning(8) if number <= step]


@pytest.mark.parametrize(
    ("saved", "logged", "changes", "lacks", "finished"),
    [
        (4, 4, {}, False, False),
        (4, 3, {}, True, False),
        (5, 4, {}, False, False),
        (5, 4, {"keep_best": 1}, True, False),
        (8, 8, {}, False, True),
        (8, 7, {}, True, False),
        (8, 7, {"num_nodes": 2}, True, True),
        (8, 8, {"num_steps": 7}, False, True),
        (8, 7, {"num_steps": 12}, True, False),
    ],
)
def test_what_was_due_and_is_not_logged_is_made_up(
    tmp_path: Path, saved: int, logged: int, changes: dict[str, int], lacks: bool, finished: bool
) -> None:
    run, recipe = make_run(tmp_path), replace(RECIPE, **changes)  # type: ignore[arg-type]
    add_attempt(run, logged_to(logged))
    seal_checkpoint(run.root, saved)
    assert lacks_validation(run, recipe, sealed(run)[0]) is lacks
    assert is_finished(run, recipe) is finished


def test_an_attempt_that_came_to_its_end_is_never_made_again(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert not is_finished(run, RECIPE)
    add_attempt(run, logged_to(7), ended="now", outcome="finished")
    assert not is_finished(run, RECIPE), "nothing is saved"
    seal_checkpoint(run.root, 8)
    assert is_finished(run, RECIPE)
