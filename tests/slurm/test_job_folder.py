import stat
from pathlib import Path

import pytest

from deepscaler.system.errors import UserError
from slurm.job_folder import JobFolder, new_folder, write_token


def test_starts_without_progress_are_counted_back_to_the_last_that_made_some(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    for number, reached in enumerate([0, 10, 10]):
        folder.end(folder.begin(number, reached), 1, "died", again=True)
    assert folder.attempts_without_progress(3, 10) == (2, 0)
    assert folder.attempts_without_progress(3, 20) == (0, 0)
    assert folder.attempts_without_progress(0, 0) == (0, 0)


def test_starts_that_slurm_ended_are_counted_apart(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.end(folder.begin(0, 0), 1, "died", again=True)
    folder.begin(1, 10)  # killed, and so was the next, before it could write its record
    folder.attempt(2).root.mkdir()
    folder.end(folder.begin(3, 10), 75, "SIGTERM", again=True, by_slurm=True)
    folder.end(folder.begin(4, 10), 75, "Ray ended", again=True)
    folder.begin(5, 10).failed_path("node2").write_text("node2: no Ray")
    assert folder.attempts_without_progress(6, 10) == (2, 3)


def test_a_start_asks_for_another_until_it_has_ended_for_good(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    attempt = folder.begin(0, 5)
    assert folder.again_path.exists()
    folder.end(attempt, 75, "preempted", again=True)
    assert folder.again_path.exists()
    folder.end(attempt, 0, "done", again=False)
    assert not folder.again_path.exists()
    assert attempt.read(attempt.record_path)["progress"] == 5


def test_a_start_that_a_newer_one_has_fenced_off_does_not_end_the_job(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    old, new = folder.begin(0, 0), folder.begin(1000, 0)
    folder.end(old, 2, "attempt 2 has taken over", again=False)
    assert folder.again_path.exists()
    folder.end(new, 0, "done", again=False)
    assert not folder.again_path.exists()


def test_a_start_that_can_write_nothing_can_still_end_the_job(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.begin(0, 0)
    folder.ask_no_more(folder.attempt(1))
    assert not folder.again_path.exists()


def test_what_workers_leave_is_read_whatever_it_holds(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    attempt = folder.begin(0, 5)
    assert (attempt.failures(), folder.successors()) == ("", [])
    attempt.failed_path("node1").write_text("node1: no Ray")
    attempt.failed_path("node2").write_bytes(b"\xff")
    assert attempt.failures() == "node1: no Ray; node2: gave up"
    (tmp_path / "successors").write_bytes(b"\xff")
    assert folder.successors() == []


def test_a_file_that_the_head_removes_while_a_worker_reads_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = JobFolder(tmp_path).begin(0, 0)
    attempt.head_path.write_text('{"address": "10.0.0.1:20017"}')
    read = Path.read_text

    def read_late(path: Path, encoding: str) -> str:
        path.unlink()
        return read(path, encoding)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", read_late)
        assert attempt.read(attempt.head_path) == {}
    attempt.head_path.write_text("{")
    with pytest.raises(UserError, match=r"head\.json cannot be read"):
        attempt.read(attempt.head_path)


def test_a_new_job_gets_the_next_number(tmp_path: Path) -> None:
    first = new_folder(tmp_path, "train-8k")
    assert first == tmp_path / "slurm/0001-train-8k"
    first.mkdir(parents=True)
    assert new_folder(tmp_path, "after-8k").name == "0002-after-8k"


def test_the_token_is_the_users_alone(tmp_path: Path) -> None:
    write_token(tmp_path / "token", "secret")
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
