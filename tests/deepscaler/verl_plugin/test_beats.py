"""Signs of life go on whatever fails in between."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepscaler.runs.beats import beats_folder, stalls_folder
from deepscaler.runs.folder import RunFolder
from deepscaler.verl_plugin import beats


class EnoughError(Exception):
    """Ends the endless loop."""


def test_an_error_while_it_answers_a_stall_does_not_end_the_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    def sleep(_: float) -> None:
        rests.append(1)
        if len(rests) == 3:
            raise EnoughError

    rests: list[int] = []
    attempt = RunFolder(tmp_path).attempt(1)
    (stalls_folder(attempt) / "1").mkdir(parents=True)
    monkeypatch.setattr(beats, "examine", fails)
    monkeypatch.setattr(beats, "time", SimpleNamespace(sleep=sleep))
    with pytest.raises(EnoughError):
        beats._live(attempt)
    (written,) = beats_folder(attempt).iterdir()
    assert json.loads(written.read_text())["beat"] == 2
    (own,) = (stalls_folder(attempt) / "1/own").iterdir()
    assert own.stem.endswith(f"-{os.getpid()}")
