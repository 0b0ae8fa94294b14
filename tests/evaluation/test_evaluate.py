"""A start that fails at any point leaves the records of earlier starts as they are."""

import errno
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deepscaler.system.files import write_json
from evaluation import evaluate
from evaluation.requests import Request
from evaluation.samples import Sample
from tests.evaluation.test_rounds import begun


class _Idle:
    """An engine that draws nothing."""

    name = "idle"

    def generate(self, requests: Iterable[Request]) -> Iterator[Sample]:
        return iter(())

    def describe(self) -> dict[str, object]:
        return {}


@pytest.mark.parametrize("earlier", [[], [{"started": "before"}]])
def test_a_start_that_could_not_be_recorded_replaces_no_earlier_record(
    earlier: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, inputs = begun(tmp_path, 0.0)
    write_json(folder.provenance_path, {"attempts": earlier})
    failures = [OSError(errno.ENOSPC, "No space left on device")]

    def describe(*_: object) -> dict[str, Any]:
        if failures:  # somebody frees some space then
            raise failures.pop()
        return {"engine": {}, "versions": {}, "git_revision": "", "hardware": {}}

    monkeypatch.setattr(evaluate, "_load_engine", lambda *_: _Idle())
    monkeypatch.setattr(evaluate, "describe", describe)
    with pytest.raises(OSError, match="No space left"):
        evaluate._draw(inputs, folder, Console(file=io.StringIO()))
    assert folder.read_provenance()["attempts"] == earlier
