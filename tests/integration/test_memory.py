"""A training whose reward leaks, under a real limit of memory: it saves and begins anew before the kernel kills."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import read_metrics
from tests.integration.processes import deepscaler, wait_until_gone

pytestmark = [pytest.mark.slow, pytest.mark.long]

ROOM = 1_400_000_000
"""Bytes that the leak may take: some fifteen steps of eight responses, 10 MB each."""

NUM_STEPS = 20

RECIPE = """
extends = "quickstart"
name = "leak"
model = "{model}"
num_steps = {steps}
train_batch_size = 2
mini_batch_size = 2
group_size = 4
max_response_length = 8
validate_every = 100
save_every = 100

[reward]
function = "leaking_reward.py:score"
parts = {{function = 1.0}}
num_workers = 1
"""


class Group:
    """A control group for memory, of either version."""

    def __init__(self, folder: Path, *, second: bool) -> None:
        self.folder = folder
        self._limit = folder / ("memory.max" if second else "memory.limit_in_bytes")
        self._used = folder / ("memory.current" if second else "memory.usage_in_bytes")
        self._events = folder / ("memory.events" if second else "memory.oom_control")

    def used(self) -> int:
        return int(self._used.read_text())

    def limit_to(self, size: int) -> None:
        self._limit.write_text(str(size))

    def num_killed(self) -> int:
        words = [line.split() for line in self._events.read_text().splitlines()]
        return next((int(value) for name, value in words if name == "oom_kill"), 0)


@pytest.fixture
def group() -> Iterator[Group]:
    """Yields a control group of one's own, where this machine lets one be made."""
    name = f"deepscaler-test-{os.getpid()}"
    for root, second in ((Path("/sys/fs/cgroup/memory"), False), (Path("/sys/fs/cgroup"), True)):
        made = Group(root / name, second=second)
        try:
            made.folder.mkdir()
            made.limit_to(1 << 40)
        except OSError:
            continue
        yield made
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                made.folder.rmdir()
                return
            except OSError:  # a process of it is about to end
                time.sleep(0.5)
        return
    pytest.skip("needs a control group for memory that may be made here: root, and cgroups mounted for writing")


@pytest.mark.usefixtures("training")
def test_a_leak_is_undone_before_the_kernel_kills(tiny_model: Path, tmp_path: Path, group: Group) -> None:
    shutil.copy(Path(__file__).with_name("leaking_reward.py"), tmp_path)
    recipe = tmp_path / "leak.toml"
    recipe.write_text(RECIPE.format(model=tiny_model, steps=NUM_STEPS))
    run = RunFolder(tmp_path / "run")
    join = f'echo $$ > {group.folder}/cgroup.procs; exec "$@"'
    command = ["sh", "-c", join, "sh", *deepscaler("train", recipe, "--device", "cpu", "--output-dir", run.root)]
    limited = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while process.poll() is None:
            steps = read_metrics(run) if run.is_run else {}
            if not limited and max(steps, default=0) >= 2:
                limited = group.used() + ROOM
                group.limit_to(limited)
            time.sleep(0.2)
        assert process.stdout
        output = process.stdout.read()
    assert process.returncode == 0, output
    assert group.num_killed() == 0, "the kernel killed nothing"
    assert "memory: " in output
    assert "reward grew most" in output
    first = run.attempts()[0].read_record()
    assert "saving and restarting" in first["why"]
    assert 2 < first["step"] < NUM_STEPS
    assert run.attempts()[1].read_record()["resumed_step"] == first["step"], "nothing is made again"
    assert sealed(run)[0].step == NUM_STEPS
    assert sorted(step for step, values in read_metrics(run).items() if "timing_s/step" in values) == [
        *range(1, NUM_STEPS + 1)
    ]
    print(f"limit {limited / 1e9:.1f} GB; ended at step {first['step']}: {first['why']}", file=sys.stderr)
    wait_until_gone(run.root, 120)
