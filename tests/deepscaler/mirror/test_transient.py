"""A failure of the disk or of the bucket is tried again, unless no further try would mend it."""

import errno
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepscaler.mirror import upload
from deepscaler.mirror import uploader as module
from deepscaler.mirror.bucket import Bucket, MirrorError
from deepscaler.mirror.fetch import restore
from deepscaler.mirror.hub import place
from deepscaler.mirror.layout import claim_name, look, read_object
from deepscaler.mirror.uploader import Order, finish_path, note_failure
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.mirror_state import read_state, stored_state
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import BAD_INPUT, DONE
from tests.deepscaler.mirror.conftest import Save
from tests.deepscaler.mirror.test_upload import bring_up_to_date, uploader


@pytest.fixture
def mirror(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Mirrors the run in this process until all is sent; returns the exit code."""
    order = Order(run_dir=str(run.root), attempt=1, url=f"file://{tmp_path}/bucket/8k")
    monkeypatch.setattr(sys, "argv", ["upload", order.words()])
    monkeypatch.setattr(Bucket, "pause", 0.1)
    # Threads that live as long as their process, which the watch for stalls would end.
    monkeypatch.setattr(upload, "_watch_for_stalls", lambda *_: None)
    monkeypatch.setattr(module.Uploader, "keep_beating", lambda _: None)
    finish_path(run, 1).write_text(str(time.time() + 60))
    return upload.main


def fail_once(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> list[Path]:
    """Lets the first reading of a file of this name fail as a shared file system does; returns what has failed."""
    failed: list[Path] = []
    opened = Path.open

    def open_or_fail(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if path.name == name and "r" in mode and not failed:
            failed.append(path)
            raise OSError(code, os.strerror(code), str(path))
        return opened(path, mode, *rest, **more)

    # Path.read_text opens by Path.open in Python 3.11, and by io.open in later ones.
    def read_text(path: Path, encoding: str | None = None, errors: str | None = None) -> str:
        with path.open("r", encoding=encoding, errors=errors) as file:
            return str(file.read())

    monkeypatch.setattr(Path, "open", open_or_fail)
    monkeypatch.setattr(Path, "read_text", read_text)
    return failed


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("name", ["run.json", "attempt.json", "metrics.jsonl", "mirror.json"])
def test_a_file_that_cannot_be_read_for_a_moment_does_not_end_the_mirror(
    run: RunFolder,
    mirror: Callable[[], int],
    save: Save,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    code: int,
) -> None:
    url = f"file://{tmp_path}/bucket/8k"
    save(run, 20)
    bring_up_to_date(uploader(run, url))
    save(run, 40)
    before = stored_state(run)
    assert before
    failed = fail_once(monkeypatch, name, code)
    assert mirror() == DONE
    assert [path.name for path in failed] == [name]
    assert sorted(look(place(url)).whole) == [20, 40]
    after = stored_state(run)
    assert after
    assert (after.run, after.tokens, after.error) == (before.run, before.tokens, "")


def test_a_bucket_that_fails_before_the_first_look_is_tried_again(
    run: RunFolder, mirror: Callable[[], int], save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(run, 20)
    errors: list[str] = []

    def place_later(*given: Any) -> Bucket:
        if not errors:
            errors.append("no credentials yet")
            raise MirrorError(errors[0])
        state = read_state(run)
        assert state
        assert state.error in ("", errors[0])
        return place(*given)

    monkeypatch.setattr(module, "place", place_later)
    assert mirror() == DONE
    assert errors
    assert list(look(place(f"file://{tmp_path}/bucket/8k")).whole) == [20]


def test_signs_of_life_come_after_a_first_failure(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = uploader(run, f"file://{tmp_path}/bucket")
    bucket = one._bucket
    name = claim_name(1, 0, one._state.token_of(1))
    first = read_object(bucket, name)
    failed = threading.Event()

    def place_later(*given: Any) -> Bucket:
        if not failed.is_set():
            failed.set()
            raise MirrorError("no credentials yet")
        return place(*given)

    monkeypatch.setattr(module, "place", place_later)
    monkeypatch.setattr(Bucket, "beat", 0.05)
    thread = threading.Thread(target=one.keep_beating, daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while thread.is_alive() and read_object(bucket, name) == first:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert thread.is_alive()
    assert failed.is_set()
    one.close()


def test_what_no_further_try_mends_ends_the_mirror(run: RunFolder, mirror: Callable[[], int], save: Save) -> None:
    save(run, 20)
    (run.root / "attempts/0001/metrics.jsonl").write_text("no metrics\n")
    assert mirror() == BAD_INPUT
    state = read_state(run)
    assert state
    assert "does not hold metrics of verl" in state.error


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"url": "file:///bucket'])
def test_a_state_that_is_damaged_is_not_taken_for_none(
    run: RunFolder, mirror: Callable[[], int], save: Save, tmp_path: Path, content: str
) -> None:
    url = f"file://{tmp_path}/bucket/8k"
    save(run, 20)
    bring_up_to_date(uploader(run, url))
    (run.root / "mirror.json").write_text(content)
    assert mirror() == BAD_INPUT
    note_failure(Order(run_dir=str(run.root), attempt=1, url=url), OSError("stalled"))
    assert (run.root / "mirror.json").read_text() == content, "another identity would lock the run out of its mirror"
    assert read_state(run) is None, "those who only show it show none"
    with pytest.raises(UserError, match=r"mirror\.json is damaged .*: move .* away and rerun the same command"):
        restore(run, url, print)
