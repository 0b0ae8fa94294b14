"""Useful seconds over allocated ones, of attempts that ended and of one that was killed."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deepscaler.runs.goodput import goodput_of
from deepscaler.runs.metrics import read_metrics
from tests.deepscaler.runs.runs import add_attempt, learning, make_run


def at(second: int) -> str:
    return datetime.fromtimestamp(1_795_500_000 + second, UTC).strftime("%Y-%m-%dT%H:%M:%S%z")


def test_a_step_made_again_counts_once_and_starts_count_as_lost(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert goodput_of(run, {}) is None
    add_attempt(run, learning(4), started=at(0))  # killed at its fourth step, which nobody saved
    heartbeat = run.attempt(1).heartbeat_path
    heartbeat.write_text("1")
    for path in (heartbeat, run.attempt(1).record_path):
        os.utime(path, (1_795_500_500, 1_795_500_500))
    add_attempt(run, learning(5, first=4), resumed_step=3, started=at(600), ended=at(1400), outcome="finished")
    found = goodput_of(run, read_metrics(run))
    assert found is not None
    assert found.useful == pytest.approx(8 * 100.0 + 2 * 40.0), "eight steps, two validations"
    assert found.allocated == pytest.approx(500 + 800)
    assert found.attempts == 2
    assert found.share == pytest.approx(880 / 1300)
