"""The policy after a stall depends on who would start the run again, and is tried a few times only."""

from pathlib import Path

import pytest

from deepscaler.training.manifest import TrainOptions
from deepscaler.training.stalls.policy import CUT_SHORT, MOST_IN_A_ROW, announcement, limits_of, restarts, tries_again
from deepscaler.training.stalls.watcher import Stall
from tests.deepscaler.runs.runs import add_attempt, make_run


@pytest.mark.parametrize(
    ("on_stall", "own_ray", "ends"),
    [("", False, True), ("", True, False), ("restart", True, True), ("report", False, False)],
)
def test_where_a_launcher_gave_the_ray_it_is_a_restart_unless_something_else_was_asked(
    on_stall: str, own_ray: bool, ends: bool
) -> None:
    options = TrainOptions(run_dir=Path("run"), on_stall=on_stall)  # type: ignore[arg-type]
    assert restarts(options, own_ray=own_ray) is ends


def test_a_bound_of_ones_own_is_never_above_the_ceiling() -> None:
    assert limits_of(TrainOptions(run_dir=Path("run"), stall_after=3000.0)).ceiling == 3000.0


def test_attempts_that_bring_no_checkpoint_end_the_resuming(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for _ in range(MOST_IN_A_ROW - 1):
        add_attempt(run, [], outcome=CUT_SHORT, step=3)
        assert tries_again(run)
    add_attempt(run, [], outcome=CUT_SHORT, step=3)
    assert not tries_again(run)
    add_attempt(run, [], outcome=CUT_SHORT, step=4)
    assert tries_again(run)
    for _ in range(MOST_IN_A_ROW - 1):
        add_attempt(run, [], outcome=CUT_SHORT, step=4)
    assert not tries_again(run)
    add_attempt(run, [], outcome="failed", step=4)
    assert tries_again(run)


def test_people_hear_where_the_evidence_is_and_what_follows(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    stall = Stall(sentence="no progress.", folder=tmp_path / "attempts/0001/stalls/1", helps_to_restart=True)
    assert announcement(stall, run, ends=True) == (
        "STALLED: no progress. Stacks and logs are in attempts/0001/stalls/1. The attempt is ended, to be resumed."
    )
    assert "left as it is (see --on-stall)" in announcement(stall, run, ends=False)
