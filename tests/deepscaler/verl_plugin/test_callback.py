"""The thread beside verl's trainer hears of requests as long as the trainer lives."""

import errno
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepscaler.runs.folder import RunFolder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that verl imports
    from deepscaler.verl_plugin import callback


def test_a_file_system_that_fails_for_a_moment_silences_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path)
    run.attempt(1).root.mkdir(parents=True)
    run.attempt(1).stop_path.touch()
    answers = [OSError(errno.ESTALE, "Stale file handle"), None, SystemExit()]

    def check(*_: object) -> None:
        if answer := answers.pop(0):
            raise answer

    monkeypatch.setattr(callback, "check_ownership", check)
    monkeypatch.setattr(callback, "POLL", 0.01)
    # Not by its constructor, which hooks into verl's trainers.
    made = object.__new__(callback.RunCallback)
    made._run, made._attempt = run, run.attempt(1)
    made.config = SimpleNamespace(trainer=SimpleNamespace(save_freq=20))
    with pytest.raises(SystemExit):
        made._watch()
    assert made.config.trainer.save_freq == 1
