"""The process beside a training: killed, stalled and out of time, and never in the training's way."""

import json
import os
import random
import re
import signal
import subprocess
import time
from collections import deque
from functools import partial
from pathlib import Path

import pytest

from deepscaler.mirror.bucket import Bucket
from deepscaler.mirror.fetch import restore
from deepscaler.mirror.layout import look
from deepscaler.mirror.uploader import Order, finish_path
from deepscaler.runs.checkpoints import newest, sealed
from deepscaler.runs.fence import FencedError, identity
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.mirror_state import read_state
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import FAILED
from deepscaler.system.processes import python_command
from deepscaler.training import mirroring, trainer
from deepscaler.training.manifest import TrainOptions
from deepscaler.training.mirroring import MirrorProcess
from tests.deepscaler.mirror.conftest import Save
from tests.deepscaler.mirror.server import SECRET, Proxy

BUSY = 200.0
"""Seconds for whatever a test waits for: a busy machine may take a minute to start a process."""

NUM_KILLS = 10
PART = 1_500_000
"""Integers of each file of a checkpoint: 12 MB, so that a kill has parts of an upload to fall between."""


def begin(run: RunFolder, url: str, **more: float) -> "subprocess.Popen[bytes]":
    order = Order(run_dir=str(run.root), attempt=1, url=url, **more)
    with (run.root / "out").open("ab") as log:
        return subprocess.Popen(
            python_command("-m", "deepscaler.mirror.upload", order.words()), stdout=log, stderr=subprocess.STDOUT
        )


def mirrored(run: RunFolder, url: str, said: list[str], **options: float) -> MirrorProcess:
    return MirrorProcess(run, run.attempt(1), TrainOptions(run_dir=run.root, mirror=url, **options), said.append)  # type: ignore[arg-type]


@pytest.mark.slow
def test_ten_kills_in_the_middle_of_uploads_leave_nothing_torn(
    run: RunFolder, url: str, save: Save, tmp_path: Path
) -> None:
    choose, torn, whole_at_once = random.Random(7), 0, 0
    for number in range(1, NUM_KILLS + 1):
        save(run, 20 * number, PART)
        started = partial(_has_part_of, Bucket(url), 20 * number)
        process = begin(run, url, bandwidth=20e6)
        _wait_for(started, process)
        time.sleep(choose.uniform(0.0, 2.2))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        view = look(Bucket(url))
        is_whole = 20 * number in view.whole
        torn, whole_at_once = torn + (not is_whole), whole_at_once + is_whole
        if view.whole:
            fresh = RunFolder(tmp_path / f"fresh-{number}")
            _end(run, url)
            restore(fresh, url, print)
            found = newest(fresh, print)
            assert found
            assert found.step == max(view.whole), "what counts in the mirror is whole"
    assert torn >= NUM_KILLS // 2, f"of {NUM_KILLS} kills only {torn} fell into an upload"
    said: list[str] = []
    mirrored(run, url, said).finish()
    assert "has step 200" in said[-1]
    view = look(Bucket(url))
    assert sorted(view.whole) == [180, 200]
    assert {stored.step for stored in view.objects} == {180, 200}, "what kills left torn is removed"


def _look_until(process: MirrorProcess, end: float) -> None:
    while time.monotonic() < end:
        process.look()
        time.sleep(0.2)


def _has_part_of(bucket: Bucket, step: int) -> bool:
    return any(f"global_step_{step}/" in name for name in bucket.names())


def _end(run: RunFolder, url: str) -> None:
    """Says that the attempt has ended, so that a test need not wait until it is taken for dead."""
    bucket = Bucket(url)
    for name in bucket.names():
        if "/claim-" in name:
            bucket.write(name, json.dumps({"host": "here", "ended": True}).encode())


def _wait_for(what: object, process: "subprocess.Popen[bytes]", seconds: float = BUSY) -> None:
    end = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert process.poll() is None, "the mirror process ended"
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.05)


def test_a_bucket_that_stalls_is_left_after_a_bound(run: RunFolder, url: str, proxy: Proxy, save: Save) -> None:
    save(run, 20)
    proxy.fault = "stall"
    proxy.drop()
    process = begin(run, url, stall=3.0)
    assert process.wait(BUSY) == FAILED
    state = read_state(run)
    assert state
    assert "no byte was sent for 3 s" in state.error
    proxy.fault = ""
    finish_path(run, 1).write_text(str(time.time() + BUSY))
    assert begin(run, url).wait(BUSY) == 0
    assert list(look(Bucket(url)).whole) == [20]


def test_a_training_waits_no_longer_than_it_says(
    run: RunFolder,
    url: str,
    proxy: Proxy,
    save: Save,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    save(run, 20)
    said: list[str] = []
    process = mirrored(run, url, said)
    process.finish()
    assert "has step 20" in said[-1]
    monkeypatch.setattr(mirroring, "FINISH", 8.0)
    save(run, 40)
    proxy.fault = "stall"
    proxy.drop()
    process, began = mirrored(run, url, said), time.monotonic()
    process.look()  # beside the training nothing waits
    assert time.monotonic() - began < 60
    process.finish()
    assert time.monotonic() - began < BUSY
    assert re.match(r"Finishing the mirror, for [5-8] s at most", said[-2])
    assert "has step 20; not uploaded: what came last" in said[-1] or "step 40" in said[-1]
    monkeypatch.setattr(mirroring, "FINISH", 3600.0)
    mirrored(run, url, said, deadline=time.time() + 4).finish()  # a deadline of the machine comes first
    proxy.fault = ""
    mirrored(run, url, said).finish()
    assert "has step 40" in said[-1]
    everything = "".join(said) + "".join(capfd.readouterr()) + (run.attempt(1).root / "mirror.log").read_text()
    files = "".join(path.read_text(errors="replace") for path in run.root.rglob("*.json"))
    assert SECRET not in everything + files


def test_a_second_command_leaves_the_mirror_to_a_first_that_finishes_it(run: RunFolder, url: str) -> None:
    first = run.attempt(1)
    first.update_record(**identity())
    finish_path(run, 1).write_text(f"{time.time() + 60}\n")
    options = TrainOptions(run_dir=run.root, mirror=url)
    with pytest.raises(UserError, match=r"attempt 1 .* is at work"):
        trainer._finish_mirror(run, options, deque(), print)
    assert finish_path(run, 1).is_file()


def test_a_process_that_dies_is_started_again_and_a_fenced_one_ends_the_training(
    run: RunFolder, url: str, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "RESTART", 0.5)
    said: list[str] = []
    process = mirrored(run, url, said)
    save(run, 20)
    for _ in range(2):
        process.look()
        assert process._process
        pid = process._process.pid
        process.kill()
        time.sleep(0.6)
        process.look()
        assert process._process.pid != pid
    Bucket(url).write("attempts/0002/claim-20-00000000", b"{}")
    end = time.monotonic() + BUSY
    with pytest.raises(FencedError, match="a newer attempt has taken over"):
        _look_until(process, end)
    assert sealed(run)
    process.kill()
