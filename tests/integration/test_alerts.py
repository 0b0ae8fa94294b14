"""A real Prometheus scrapes runs that are not well, made of files: every rule fires, and only for its own run.

test_sick.py makes rules fire in a real training, of which some depend on chance, and test_stalls.py the one for stalls.
"""

import os
import time
from pathlib import Path

import pytest

from deepscaler.recipes.signs import SIGNS
from deepscaler.runs.rules import DEAD, DEAD_FOR, STALLED, rules
from deepscaler.runs.status import STALE, read_status
from deepscaler.system.files import write_json
from deepscaler.system.repeat import repeating
from tests.deepscaler.runs.runs import add_attempt, make_run
from tests.deepscaler.runs.sick import falling_ill, healthy
from tests.integration.processes import deepscaler, free_port, started
from tests.integration.prometheus import Prometheus

pytestmark = pytest.mark.slow


def test_every_rule_fires_for_the_run_that_shows_it_and_for_no_other(prometheus: str, tmp_path: Path) -> None:
    outputs, port = tmp_path / "outputs", free_port()
    runs = {name: make_run(outputs / name, name=name) for name in (*SIGNS, "well", STALLED, DEAD)}
    for name, run in runs.items():
        lines = falling_ill(name) if name in SIGNS else healthy()
        add_attempt(run, lines, stall="The trainer stands still." if name == STALLED else "")
    write_json(runs[STALLED].attempt(1).root / "phase.json", {"phase": "generate"})

    def live() -> None:
        for run in runs.values():
            run.attempt(1).heartbeat_path.touch()

    live()
    del runs[DEAD]  # from here on it gives no sign of life
    silent = outputs / DEAD / "attempts/0001"
    for path in (silent / "heartbeat", silent / "attempt.json", silent):
        os.utime(path, (time.time() - STALE - 1,) * 2)
    # The time that a requeue has is not waited for: promtool tries it in the unit tests.
    assert f"for: {DEAD_FOR}" in rules()
    server = Prometheus(prometheus, tmp_path, port, rules().replace(f"for: {DEAD_FOR}", "for: 2s"))
    expected = {*SIGNS, STALLED, DEAD}
    with (
        repeating(live, STALE / 6, "heartbeats"),
        started(deepscaler("metrics", outputs, "--port", port)),
        started(server.command),
    ):
        assert server.wait_for(expected) == expected
        assert server.fired_for() == {(name, name) for name in expected}
        for name, run in runs.items():
            assert list(read_status(name, run).alarms or {}) == [name] * (name in SIGNS), "as status says"
