"""What a pod does first and last, on run directories as trainings leave them."""

import threading
import time
from pathlib import Path

import pytest

from deepscaler.kubernetes.pod import lifecycle
from deepscaler.runs.fence import alive
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.system.files import text_of


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "STALE", 1.5)
    monkeypatch.setattr(lifecycle, "POLL", 0.05)
    monkeypatch.setattr("deepscaler.runs.fence.BEAT", 0.1)


def attempt(root: Path, number: int = 1, host: str = "train-8k-abcde-head-x1y2z", **record: str) -> Attempt:
    made = RunFolder(root).attempt(number)
    made.root.mkdir(parents=True)
    made.update_record(host=host, **record)
    return made


def until_asked(living: Attempt) -> None:
    """A training that saves when it is asked to."""
    with alive(living):
        while not living.stop_path.exists():
            time.sleep(0.02)
    living.update_record(ended="now", outcome="stopped")


def test_a_pod_asks_the_training_of_its_own_cluster_and_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "STALE", 60.0)
    living = attempt(tmp_path)
    training = threading.Thread(target=until_asked, args=(living,))
    training.start()
    said: list[str] = []
    lifecycle.stop_training(tmp_path, "train-8k-abcde", said.append)
    assert "ended" in living.read_record()
    assert "is taken away" in living.stop_path.read_text()
    assert said[-1] == f"attempt 1 of {tmp_path} (on train-8k-abcde-head-x1y2z) has ended."
    training.join()


def test_a_head_waits_for_a_long_save_only_until_its_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "STALE", 60.0)
    living, said = attempt(tmp_path), list[str]()
    with alive(living):
        assert not lifecycle.stop_training(tmp_path, "train-8k-abcde", said.append, time.monotonic() + 0.2)
    assert living.stop_path.exists()
    assert said[-1].endswith("has not ended in time: the pod ends without waiting longer.")


def test_a_pod_that_lingers_leaves_the_next_attempt_alone(tmp_path: Path) -> None:
    attempt(tmp_path, 1, ended="before")
    successor = attempt(tmp_path, 2, host="train-8k-fghij-head-q1w2e")
    lifecycle.stop_training(tmp_path, "train-8k-abcde", print)
    assert not successor.stop_path.exists()


def test_a_dead_training_is_waited_for_only_a_moment(tmp_path: Path) -> None:
    dead = attempt(tmp_path)
    dead.heartbeat_path.write_bytes(b"17\xff\n")  # what a machine that lost its power may leave
    said: list[str] = []
    lifecycle.stop_training(tmp_path, "train-8k-abcde", said.append)
    lifecycle.wait_for_others(tmp_path, said.append)
    told = f"attempt 1 of {tmp_path} (on train-8k-abcde-head-x1y2z)"
    assert said == [f"{told} has not ended: waiting for its end, or 2 s without a heartbeat.", f"{told} is dead."] * 2


def test_the_next_head_waits_for_the_attempt_before(tmp_path: Path) -> None:
    living, said = attempt(tmp_path), list[str]()
    training = threading.Thread(target=until_asked, args=(living,))
    training.start()
    began = time.monotonic()

    def until_a_beat() -> None:
        """Has each look find a new heartbeat, however seldom a busy machine lets this process beat and look."""
        seen = text_of(living.heartbeat_path)
        if time.monotonic() - began > 1.5 * lifecycle.STALE:  # longer than a dead one is waited for
            living.stop_path.touch()
        while text_of(living.heartbeat_path) == seen and "ended" not in living.read_record():
            time.sleep(0.02)

    lifecycle.wait_for_others(tmp_path, said.append, until_a_beat)
    training.join()
    assert living.stop_path.exists()
    assert "has not ended: waiting" in said[0]
    assert said[1].endswith(" has ended.")


def test_a_folder_without_a_run_keeps_nobody_waiting(tmp_path: Path) -> None:
    lifecycle.wait_for_others(tmp_path / "new", print)
    lifecycle.stop_training(tmp_path / "new", "train-8k-abcde", print)
