"""Which checkpoints stay, and that none is removed while somebody reads it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from deepscaler.runs import holds, retention
from deepscaler.runs.checkpoints import PREFIX, SEAL, publish, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.holds import held
from deepscaler.runs.retention import Retention, prune
from deepscaler.system.processes import python_command
from tests.deepscaler.runs.conftest import WriteCheckpoint


def test_newest_regular_and_best_checkpoints_stay() -> None:
    steps = range(20, 461, 20)
    means = {100: 0.3, 300: 0.5, 320: 0.5, 460: 0.1, 500: 0.9}
    assert Retention(2, every=200, best=1).kept(steps, means) == {200, 320, 400, 440, 460}
    assert Retention(1, best=3).kept(steps, means) == {100, 300, 320, 460}
    assert Retention(9).kept([20, 40], {}) == {20, 40}


@given(
    some.sets(some.integers(1, 500), min_size=1),
    some.builds(Retention, some.integers(1, 4), some.integers(0, 50), some.integers(0, 3)),
    some.dictionaries(some.integers(1, 500), some.floats(0, 1)),
)
def test_the_newest_always_stays_and_nothing_is_made_up(
    steps: set[int], rule: Retention, means: dict[int, float]
) -> None:
    kept = rule.kept(steps, means)
    assert max(steps) in kept
    assert kept <= steps
    assert rule.kept(kept, means) == kept, "what stays once stays when nothing new came"


def test_a_checkpoint_that_is_read_is_pruned_afterwards(run: RunFolder, write_checkpoint: WriteCheckpoint) -> None:
    for step in (20, 40):
        publish(run, write_checkpoint(run.attempt(1), step), step=step, verl_step=step)
    with held(run, 20):
        prune(run, Retention(1))
        assert [checkpoint.step for checkpoint in sealed(run)] == [40, 20]
    prune(run, Retention(1))
    assert [checkpoint.step for checkpoint in sealed(run)] == [40]


def test_a_hold_of_a_killed_process_is_forgotten(
    run: RunFolder, write_checkpoint: WriteCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (20, 40):
        publish(run, write_checkpoint(run.attempt(1), step), step=step, verl_step=step)
    reader = (
        "import sys, time; from pathlib import Path; from deepscaler.runs.folder import RunFolder;"
        " from deepscaler.runs.holds import held\nwith held(RunFolder(Path(sys.argv[1])), 20): time.sleep(600)"
    )
    process = subprocess.Popen(python_command("-c", reader, str(run.root)))
    folder = run.checkpoints / holds.HOLDS
    while not list(folder.glob("20-*")):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    prune(run, Retention(1))
    assert len(sealed(run)) == 2, "nobody can tell so soon"
    [hold] = folder.glob("20-*")
    os.utime(hold, (hold.stat().st_mtime - holds.FORGOTTEN - 1,) * 2)
    prune(run, Retention(1))
    assert [checkpoint.step for checkpoint in sealed(run)] == [40]
    assert not hold.exists()


def test_what_another_process_sets_aside_meanwhile_is_not_removed(
    run: RunFolder, write_checkpoint: WriteCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (20, 40):
        publish(run, write_checkpoint(run.attempt(1), step), step=step, verl_step=step)
    aside = run.checkpoints / "damaged-20"

    def set_aside(_: RunFolder, step: int) -> bool:
        (run.checkpoints / f"{PREFIX}{step}").rename(aside)
        return False

    monkeypatch.setattr(retention, "is_held", set_aside)
    prune(run, Retention(1))
    assert [checkpoint.step for checkpoint in sealed(run)] == [40]
    assert (aside / SEAL).is_file()


def test_what_an_interrupted_removal_left_goes_with_the_next(run: RunFolder, write_checkpoint: WriteCheckpoint) -> None:
    for step in (20, 40):
        publish(run, write_checkpoint(run.attempt(1), step), step=step, verl_step=step)
    torn: Path = run.checkpoints / f"{PREFIX}20"
    (torn / SEAL).rename(torn / f".{SEAL}")
    assert [checkpoint.step for checkpoint in sealed(run)] == [40]
    prune(run, Retention(5))
    assert not torn.exists()
