"""Samples of this machine by a thread, and when an attempt has to begin anew; tests/integration lets a reward leak."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from deepscaler.runs import memory_samples
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.memory_samples import FOLDER, claim, read_samples, step_in_flight
from deepscaler.training import memory_watch
from deepscaler.training.memory_watch import MemoryWatch, sampled
from tests.deepscaler.runs.runs import add_attempt, learning, make_run

GB = 1_000_000_000


def write(
    run: RunFolder,
    used: list[float],
    *,
    limit: int = 64 * GB,
    node: str = "head1",
    place: str = "control group",
    places: tuple[str, ...] = (),
    own: list[float] | None = None,
) -> str:
    """Writes a sample of each step in GB; returns what a look at them says. `own` is what the reward holds.

    `places` are those of the samples in turn.
    """
    path = run.attempt(1).root / FOLDER / f"{node}.jsonl"
    path.parent.mkdir(exist_ok=True)
    lines = [
        {
            "step": step,
            "used": int(size * GB),
            "limit": limit,
            "place": places[step % len(places)] if places else place,
            "roles": {"rank": 5 * GB, "reward": int(reward * GB)},
        }
        for step, (size, reward) in enumerate(zip(used, own or used, strict=True), 7)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    watch = MemoryWatch(run.attempt(1))
    watch._looked -= memory_watch.EVERY
    return watch.look()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = make_run(tmp_path)
    add_attempt(made, learning(3), resumed_step=6, step_offset=0)
    return made


def test_a_node_that_two_more_steps_would_fill_ends_the_attempt(run: RunFolder) -> None:
    assert write(run, [40, 41, 44, 47, 50]) == "", "50 and two steps of 3 are 56 of 60.8 GB"
    says = write(run, [40, 41, 46, 51, 56])
    assert "head1 has 56.0 GB of 64.0 GB in use, 15.0 GB more than after 2 steps (reward grew most)" in says
    assert write(run, [40, 41, 46, 51, 56], node="quiet") == says, "the other node's is still there"


def test_what_was_in_use_under_another_limit_does_not_compare(run: RunFolder) -> None:
    write(run, [120, 125, 121], limit=256 * GB)
    path = run.attempt(1).root / FOLDER / "head1.jsonl"
    before = path.read_text()
    assert "15.0 GB more" in write(run, [40, 41, 46, 51, 56])
    path.write_text(before + path.read_text())
    watch = MemoryWatch(run.attempt(1))
    watch._looked -= memory_watch.EVERY
    assert "15.0 GB more than after 2 steps" in watch.look()


@pytest.mark.parametrize(
    "used",
    [[60, 60.5, 60.2, 60.4], [60, 70], [40, 62, 62, 62], [40] * 9, []],
    ids=["full from the start", "two steps", "taken in the first steps", "level", "nothing yet"],
)
def test_what_a_restart_would_not_change_is_left_alone(used: list[float], run: RunFolder) -> None:
    assert write(run, used) == ""


@pytest.mark.parametrize(
    ("base", "peak", "every", "steps"),
    [(30, 51, 10, 1), (20, 48, 5, 1), (30, 58, 10, 2), (30, 51, 2, 1), (30, 56, 8, 3)],
    ids=["validation", "save", "nearly full, for two steps", "every second step", "three steps"],
)
def test_a_peak_that_passes_is_not_growth(base: int, peak: int, every: int, steps: int, run: RunFolder) -> None:
    used = [float(peak if step % every >= every - steps else base) for step in range(40)]
    # Whatever step an attempt resumes at; the first two are what it needs from the start.
    found = [write(run, used[begin:end]) for begin in range(every) for end in range(begin + 1, 40)]
    assert not any(found)


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_growth_of_a_hundredth_a_step_is_noticed_before_the_last_two_fit(noise: float, run: RunFolder) -> None:
    used = [40 + 0.7 * step + noise * (-1) ** step for step in range(40)]
    ends = next(end for end in range(40) if write(run, used[:end]))
    assert 0.9 * 64 < used[ends - 1] < 0.95 * 64, "as if two more of it would not fit"


def test_what_other_programs_of_a_machine_take_is_left_alone(run: RunFolder) -> None:
    used = [40.0, 41, 46, 51, 56]
    assert write(run, used, place="machine", own=[20, 21, 21, 21, 21]) == ""
    assert "7.0 GB more than after 2 steps" in write(run, used, place="machine", own=[20, 21, 24, 26, 28])


def test_a_node_whose_machine_and_control_group_fill_alike_ends_the_attempt(run: RunFolder) -> None:
    used = [40 + 2.0 * step for step in range(10)]
    says = write(run, used, places=("machine", "control group"))
    assert "head1 has 58.0 GB of 64.0 GB in use, 12.0 GB more than after 2 steps (reward grew most)" in says


def test_this_node_is_sampled_by_one_process(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_watch, "EVERY", 0.02)
    attempt = run.attempt(1)
    monkeypatch.setenv("DEEPSCALER_RUN_DIR", str(run.root))
    with sampled(run, attempt):
        path = next((attempt.root / FOLDER).iterdir())
        assert claim(attempt) is None
        deadline = time.monotonic() + 120
        samples: list[dict[str, Any]] = []
        while len(samples) < 2:
            assert time.monotonic() < deadline
            samples = read_samples(path)
            time.sleep(0.02)
    assert path.stem == os.uname().nodename
    assert samples[0]["step"] == 7
    assert 0 < samples[0]["used"] < samples[0]["limit"]
    assert path.parent.name == memory_samples.FOLDER


def test_the_step_in_flight_follows_the_last_that_was_logged(run: RunFolder) -> None:
    attempt = run.attempt(1)
    assert step_in_flight(attempt) == 7, "resumed from 6, and verl counts as the run does"
    add_attempt(run, learning(3), resumed_step=40, step_offset=40)
    assert step_in_flight(run.attempt(2)) == 44
    assert step_in_flight(run.attempt(3)) == 1
    for junk in ("5", "[1]", '{"step": "x"}', '{"step": null}', "\udcff"):
        attempt.metrics_path.write_bytes(f"{junk}\n".encode(errors="surrogateescape"))
        assert step_in_flight(attempt) == 7
    attempt.record_path.write_text('{"resumed_step": "x"}')
    assert step_in_flight(attempt) == 1
