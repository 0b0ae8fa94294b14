"""A checkpoint that is not as it was saved does not count in the mirror, and keeps no run from a whole one."""

import hashlib
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepscaler.mirror import download
from deepscaler.mirror.bucket import Bucket, DamagedError, MirrorError
from deepscaler.mirror.fetch import fetched_run, restore
from deepscaler.mirror.hub import place
from deepscaler.mirror.layout import MANIFEST, look, read_manifest
from deepscaler.runs.checkpoints import newest, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.mirror_state import read_state
from deepscaler.system.errors import UserError
from tests.deepscaler.mirror.conftest import Save, start_attempt
from tests.deepscaler.mirror.test_upload import bring_up_to_date, uploader

DATA = "data.pt"
DOWNLOAD = Bucket.download


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda _: None, monotonic=time.monotonic))
    return f"file://{tmp_path}/bucket/8k"


@pytest.fixture
def mirrored(run: RunFolder, save: Save, url: str) -> RunFolder:
    """A run that ended after its steps 20 and 40 were mirrored."""
    for step in (20, 40):
        save(run, step)
    one = uploader(run, url)
    bring_up_to_date(one)
    one.close()
    return run


def test_a_checkpoint_that_is_not_as_its_seal_says_is_not_sent_and_keeps_no_other_back(
    run: RunFolder, save: Save, url: str
) -> None:
    for step in (20, 40):
        save(run, step)
    os.truncate(run.checkpoints / f"global_step_40/{DATA}", 100)
    one = uploader(run, url)
    with pytest.raises(MirrorError, match=r"checkpoint of step 40 cannot be mirrored: data\.pt has 100 of \d+ bytes"):
        bring_up_to_date(one)
    assert list(look(place(url)).whole) == [20]
    assert not [name for name in place(url).names() if "global_step_40" in name], "its gigabytes are not sent for this"
    state = read_state(run)
    assert state
    assert state.left == ["the checkpoint of step 40"]


def test_a_checkpoint_that_changes_while_it_is_sent_does_not_count(
    run: RunFolder, save: Save, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(run, 20)
    one = uploader(run, url)
    upload = Bucket.upload

    def upload_half(bucket: Bucket, name: str, file: Path) -> dict[str, Any]:
        if file.name == DATA:
            os.truncate(file, file.stat().st_size // 2)
        return upload(bucket, name, file)

    monkeypatch.setattr(Bucket, "upload", upload_half)
    with pytest.raises(MirrorError, match=r"step 20 was not sent as it was saved: data\.pt has \d+ of \d+ bytes"):
        bring_up_to_date(one)
    assert look(place(url)).whole == {}


def _flip(bucket: Bucket, folder: str) -> None:
    content = bytearray(bucket.read(f"{folder}/{DATA}") or b"")
    content[len(content) // 2] ^= 1
    bucket.write(f"{folder}/{DATA}", bytes(content))


def _lose(bucket: Bucket, folder: str) -> None:
    bucket.remove([f"{folder}/{DATA}"])


def _empty_manifest(bucket: Bucket, folder: str) -> None:
    bucket.write(f"{folder}/{MANIFEST}", b"")


def _shorten(bucket: Bucket, folder: str) -> None:
    """Lets the manifest vouch for what the seal does not."""
    content = (bucket.read(f"{folder}/{DATA}") or b"")[:-50]
    bucket.write(f"{folder}/{DATA}", content)
    manifest = json.loads(bucket.read(f"{folder}/{MANIFEST}") or b"")
    manifest["files"][DATA] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    bucket.write(f"{folder}/{MANIFEST}", json.dumps(manifest).encode())


@pytest.mark.parametrize("damage", [_flip, _lose, _empty_manifest, _shorten])
def test_an_empty_disk_gets_the_newest_checkpoint_that_is_whole(
    mirrored: RunFolder, url: str, tmp_path: Path, damage: Any
) -> None:
    damage(place(url), look(place(url)).whole[40].folder)
    fresh, said = RunFolder(tmp_path / "fresh"), list[str]()
    restore(fresh, url, said.append)
    assert "WARNING: the checkpoint of step 40 in the mirror is damaged" in "".join(said)
    assert "Fetching the checkpoint of step 20" in "".join(said)
    found = newest(fresh, print)
    assert found
    assert found.step == 20
    assert fresh.is_run
    assert {path.name for path in fresh.checkpoints.glob("*global_step*")} == {"global_step_20"}, "and no room is lost"
    start_attempt(fresh, 2, resumed_step=20)
    bring_up_to_date(uploader(fresh, url, attempt=2))
    assert not [name for name in place(url).names() if "global_step_40" in name], "the run has gone on without it"


def test_a_disk_continues_from_its_own_checkpoint_where_a_newer_one_is_damaged(
    run: RunFolder, save: Save, url: str, tmp_path: Path
) -> None:
    save(run, 20)
    one = uploader(run, url)
    bring_up_to_date(one)
    one.close()
    behind = RunFolder(tmp_path / "behind")
    restore(behind, url, print)
    save(run, 40)
    bring_up_to_date(one)
    _flip(place(url), look(place(url)).whole[40].folder)
    said: list[str] = []
    restore(behind, url, said.append)
    assert "step 40 in the mirror is damaged" in said[-2]
    assert said[-1] == "Resuming from the checkpoint of step 20 on this disk."
    assert [checkpoint.step for checkpoint in sealed(behind)] == [20]


@pytest.mark.parametrize("damage", [_flip, _lose, _empty_manifest, _shorten])
def test_a_run_does_not_start_over_where_no_checkpoint_is_whole(
    mirrored: RunFolder, url: str, tmp_path: Path, damage: Any
) -> None:
    for stored in look(place(url)).whole.values():
        damage(place(url), stored.folder)
    fresh = RunFolder(tmp_path / "fresh")
    with pytest.raises(DamagedError, match="global_step_40"):
        restore(fresh, url, print)
    assert not fresh.is_run
    with pytest.raises(UserError, match="global_step_40"):
        fetched_run(url, "newest", print)


def _break_off(bucket: Bucket, name: str, file: Path, told: dict[str, Any]) -> None:
    if name.endswith(f"global_step_40/{DATA}"):
        raise MirrorError("connection reset")
    DOWNLOAD(bucket, name, file, told)


def _lose_on_disk(bucket: Bucket, name: str, file: Path, told: dict[str, Any]) -> None:
    DOWNLOAD(bucket, name, file, told)
    if name.endswith(f"global_step_40/{DATA}"):
        file.write_bytes(bytes(told["size"]))


@pytest.mark.parametrize(
    ("fetch", "why"), [(_break_off, "connection reset"), (_lose_on_disk, "is not what was fetched to it")]
)
def test_a_connection_that_breaks_or_a_disk_that_loses_what_was_fetched_costs_no_steps(
    mirrored: RunFolder, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetch: Any, why: str
) -> None:
    fresh = RunFolder(tmp_path / "fresh")
    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "download", fetch)
        with pytest.raises(MirrorError, match=why):
            restore(fresh, url, print)
    restore(fresh, url, print)
    assert [checkpoint.step for checkpoint in sealed(fresh)] == [40]


def test_a_folders_manifest_comes_after_what_it_vouches_for_on_the_disk_too(
    run: RunFolder, save: Save, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(run, 20)
    one = uploader(run, url)
    events: list[tuple[str, str]] = []
    sync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        sync(descriptor)
        events.append(("synced", str(Path(f"/proc/self/fd/{descriptor}").readlink())))

    def note_name(path: Path, target: Path) -> Path:
        events.append(("named", str(target)))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_name)
    bring_up_to_date(one)
    stored = look(place(url)).whole[20]
    folder = Path(url.removeprefix("file://")) / stored.folder
    files = [folder / name for name in read_manifest(place(url), stored)]
    counts = events.index(("named", str(folder / MANIFEST)))
    for file in (*files, folder / MANIFEST):
        assert events.index(("synced", f"{file}.part")) < events.index(("named", str(file))) <= counts
    for made in {folder, folder.parent, *(file.parent for file in files)}:
        assert ("synced", str(made)) in events[:counts], "a name is of its folder"
    assert ("synced", str(folder)) in events[counts:]
