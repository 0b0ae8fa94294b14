"""Samples of a node say when it will be full, and noise says nothing."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from deepscaler.runs.folder import Attempt
from deepscaler.runs.memory import read_memory
from deepscaler.runs.memory_samples import FOLDER, read_samples

GB = 1_000_000_000


def write(
    attempt: Attempt, used: Callable[[int], float], num_steps: int, node: str = "head1", places: tuple[str, ...] = ()
) -> None:
    """Writes three samples a step: the middle one is the peak. `places` are those of the steps in turn."""
    path = attempt.root / FOLDER / f"{node}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for step in range(1, num_steps + 1):
            for share in (0.5, 1.0, 0.6):
                sample = {
                    "time": 0.0,
                    "step": step,
                    "used": int(share * used(step)),
                    "limit": 64 * GB,
                    "roles": {"rank": 1},
                }
                if places:
                    sample["place"] = places[step % len(places)]
                file.write(json.dumps(sample) + "\n")
        file.write('{"time": 0.0, "st')  # in the making


def test_growth_is_forecast_whatever_the_first_steps_took(tmp_path: Path) -> None:
    draw = random.Random(0)
    attempt = Attempt(1, tmp_path)

    def used(step: int) -> float:
        warm_up = 20 * GB if step <= 5 else 0  # odd first steps, and one in twenty later
        return 30 * GB + 0.1 * GB * step + draw.gauss(0, 0.2 * GB) + warm_up + (15 * GB if step % 20 == 0 else 0)

    write(attempt, used, 60)
    write(attempt, lambda step: 10 * GB, 60, node="quiet")
    [head, quiet] = read_memory(attempt)
    assert (head.node, quiet.node) == ("head1", "quiet")
    assert head.slope is not None
    assert head.full_step is not None
    assert head.earliest is not None
    assert abs(head.slope / (0.1 * GB) - 1) < 0.15
    assert abs(head.full_step - 308) < 40, "0.95 of 64 GB, 30 GB at the beginning and 0.1 GB a step"
    assert head.earliest < head.full_step
    assert f"full at step {head.full_step}" in head.describe(num_steps=1000)
    assert "enough until the last step" in head.describe(num_steps=100)
    assert quiet.full_step is None


def test_noise_and_few_steps_forecast_nothing(tmp_path: Path) -> None:
    false = 0
    for seed in range(100):
        draw = random.Random(seed)
        attempt = Attempt(1, tmp_path / str(seed))
        write(attempt, lambda step: 40 * GB + draw.gauss(0, GB), 40)  # noqa: B023
        false += read_memory(attempt)[0].slope is not None
    assert false <= 6, "one side of a 95% interval"
    few = Attempt(1, tmp_path / "few")
    write(few, lambda step: step * GB, 15)
    assert read_memory(few)[0].slope is None
    assert read_memory(few)[0].describe(1000) == "head1: 9.0 GB of 64.0 GB in use"
    assert read_memory(Attempt(1, tmp_path / "none")) == []


def test_growth_is_forecast_where_machine_and_control_group_are_about_as_full(tmp_path: Path) -> None:
    attempt = Attempt(1, tmp_path)
    write(attempt, lambda step: (30 + 0.1 * step) * GB, 60, places=("machine", "control group"))
    [head] = read_memory(attempt)
    assert head.full_step is not None
    assert abs(head.full_step - 308) < 3, "0.95 of 64 GB, 30 GB at the beginning and 0.1 GB a step"
    assert len(read_samples(attempt.root / FOLDER / "head1.jsonl")) == 90, "those of one place compare"
