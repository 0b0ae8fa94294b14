"""A repository of the hub as a mirror: few commits, each of them whole, and no room taken by what was removed."""

import hashlib
import io
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from deepscaler.mirror import fetch
from deepscaler.mirror.bucket import MirrorError
from deepscaler.mirror.fetch import fetched_run, restore
from deepscaler.mirror.hub import Hub, place
from deepscaler.mirror.layout import look
from deepscaler.mirror.pace import SWALLOWED, Limiter, Watched
from deepscaler.mirror.uploader import finish_path
from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.mirror_state import read_state
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import FAILED
from deepscaler.system.repeat import repeating
from tests.deepscaler.mirror.conftest import Save
from tests.deepscaler.mirror.test_process import BUSY, _wait_for, begin, mirrored
from tests.deepscaler.mirror.test_upload import bring_up_to_date, same_files, uploader
from tests.deepscaler.publish.hub import LARGE, TOKEN, Repo
from tests.deepscaler.publish.hub import Hub as Server

URL = "hf://lab/runs/8k"


def files_of(hub: Server, repo: str = "lab/runs") -> dict[str, bytes]:
    return hub.repos[repo].branches["main"]


def large(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_belongs_together_is_one_commit(run: RunFolder, hub: Server, save: Save) -> None:
    save(run, 20)
    one = uploader(run, URL)
    repo = hub.repos["lab/runs"]
    assert repo.private
    assert repo.commits == 2, "which run this is, and the claim"
    bring_up_to_date(one)
    assert repo.commits == 4, "the small files, the checkpoint"
    bring_up_to_date(one)
    assert repo.commits == 4, "nothing has changed"
    save(run, 40)
    bring_up_to_date(one)
    assert repo.commits == 6
    save(run, 60)
    bring_up_to_date(one)
    assert repo.commits == 10, "and what was pruned, large files at the end"
    assert sorted(look(place(URL)).whole) == [40, 60]
    assert not [name for name in files_of(hub) if "global_step_20/" in name]


def test_the_hub_keeps_nothing_of_what_was_pruned_and_all_that_others_have(
    run: RunFolder, hub: Server, save: Save
) -> None:
    save(run, 20)
    theirs = (run.checkpoints / "global_step_20/actor/optim_world_size_1_rank_0.pt").read_bytes()
    past = os.urandom(LARGE + 1)
    hub.repos["lab/runs"] = Repo(branches={"main": {"model.safetensors": theirs}})
    for name, content in (("model.safetensors", theirs), ("old.safetensors", past)):
        hub.objects[large(content)], hub.pushed[large(content)] = content, name
    one = uploader(run, URL)
    bring_up_to_date(one)
    for step in (40, 60):
        save(run, step)
        bring_up_to_date(one)
    assert files_of(hub)["model.safetensors"] == theirs
    mirrored = {large(content) for name, content in files_of(hub).items() if len(content) > LARGE and "8k/" in name}
    assert mirrored
    assert hub.objects.keys() == mirrored | {large(theirs), large(past)}


def test_a_removal_that_was_cut_short_is_brought_to_its_end(run: RunFolder, hub: Server, save: Save) -> None:
    one = uploader(run, URL)
    for step in (20, 40, 60):
        save(run, step)
    bring_up_to_date(one)
    save(run, 80)
    hub.refuse["/lfs-files"] = 403
    with pytest.raises(MirrorError, match="403 Forbidden"):
        bring_up_to_date(one)
    assert sorted(look(place(URL)).whole) == [60, 80]
    assert len(hub.objects) == 9
    hub.refuse.clear()
    bring_up_to_date(one)
    assert {large(content) for content in files_of(hub).values() if len(content) > LARGE} == hub.objects.keys()
    assert len(hub.objects) == 6


def test_a_run_on_the_hub_is_restored_and_read(run: RunFolder, hub: Server, save: Save, tmp_path: Path) -> None:
    hub.part = 50_000
    for step in (20, 40):
        save(run, step)
    one = uploader(run, URL)
    bring_up_to_date(one)
    assert max(size for _, size in hub.received) == hub.part
    one.close()
    fresh = RunFolder(tmp_path / "fresh")
    restore(fresh, URL, print)
    assert [checkpoint.step for checkpoint in sealed(fresh)] == [40]
    assert same_files(fresh.checkpoints / "global_step_40", run.checkpoints / "global_step_40")
    copy = fetched_run(URL, "newest", print)
    assert same_files(copy.checkpoints / "global_step_40", run.checkpoints / "global_step_40")


def test_an_upload_that_is_killed_in_its_middle_goes_on(run: RunFolder, hub: Server, save: Save) -> None:
    save(run, 20, 100_000)
    hub.bytes_per_second = 100_000
    first = begin(run, URL)
    _wait_for(lambda: hub.received, first)
    hub.stall, hub.bytes_per_second = "/commit/", 0.0  # so that the checkpoint's does not come before the kill
    _wait_for(lambda: hub.objects, first)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    hub.stall = ""
    view = look(place(URL))
    assert view.claims
    assert not view.objects, "nothing half is to be seen"
    there, sent = set(hub.objects), len(hub.received)
    finish_path(run, 1).write_text(str(time.time() + BUSY))
    assert begin(run, URL).wait(BUSY) == 0
    assert list(look(place(URL)).whole) == [20]
    assert {oid for oid, _ in hub.received[sent:]}.isdisjoint(there), "what has arrived is not sent again"


@pytest.mark.parametrize("fault", [{"stall": "/lfs/"}, {"stall": "/tree/"}, {"bytes_per_second": 1.0}])
def test_a_hub_that_stalls_is_left_after_a_bound(
    run: RunFolder, hub: Server, save: Save, fault: dict[str, Any]
) -> None:
    save(run, 20, 1_500_000)
    for name, value in fault.items():
        setattr(hub, name, value)
    assert begin(run, URL, stall=3.0).wait(BUSY) == FAILED
    state = read_state(run)
    assert state
    assert "no byte was sent for 3 s" in state.error
    hub.stall, hub.bytes_per_second = "", 0.0
    finish_path(run, 1).write_text(str(time.time() + BUSY))
    assert begin(run, URL).wait(BUSY) == 0
    assert list(look(place(URL)).whole) == [20]


def test_a_training_mirrors_to_the_hub_and_writes_no_token_down(run: RunFolder, hub: Server, save: Save) -> None:
    save(run, 20)
    said: list[str] = []
    hub.refuse["/commit/"] = 403
    process = mirrored(run, URL, said)
    end = time.monotonic() + BUSY
    while not any("the mirror falls behind" in line for line in said):
        assert time.monotonic() < end
        process.look()
        time.sleep(0.2)
    assert "403 Forbidden" in said[-1]
    hub.refuse.clear()
    process.finish()
    assert said[-1] == f"Mirrored: {URL} has step 20."
    written = "".join(path.read_text(errors="replace") for path in run.root.rglob("*") if path.is_file())
    assert TOKEN not in "".join(said) + written


def test_a_file_moves_again_only_beyond_what_a_connection_swallows() -> None:
    moved: list[int] = []
    source = Watched(io.BytesIO(bytes(2 * SWALLOWED)), Limiter(), lambda: moved.append(source.tell()))
    source.read()
    source.seek(0)
    source.begin_sending()
    for _ in range(3):  # a server that takes a little, then nothing
        source.read(SWALLOWED // 2)
        source.seek(0)
    assert moved == [2 * SWALLOWED, SWALLOWED // 2]
    source.read(SWALLOWED + 1)
    assert len(moved) == 3


@pytest.mark.parametrize("part", ["/preupload/", "/lfs/", "/commit/"])
def test_a_refusal_is_one_line_without_the_token(run: RunFolder, hub: Server, save: Save, part: str) -> None:
    save(run, 20)
    one = uploader(run, URL)
    hub.refuse[part] = 403
    with pytest.raises(MirrorError) as caught:
        bring_up_to_date(one)
    told = str(caught.value)
    assert told.startswith(URL)
    assert "403 Forbidden" in told
    assert "\n" not in told
    assert TOKEN not in told
    hub.refuse.clear()
    bring_up_to_date(one)
    assert list(look(place(URL)).whole) == [20]


def test_a_commit_that_meets_another_is_made_again(run: RunFolder, hub: Server, save: Save) -> None:
    save(run, 20)
    one = uploader(run, URL)
    hub.conflicts = 2
    bring_up_to_date(one)
    assert list(look(place(URL)).whole) == [20]
    hub.conflicts = 3
    save(run, 40)
    with pytest.raises(MirrorError, match="412 Precondition Failed"):
        bring_up_to_date(one)


def test_an_empty_disk_does_not_begin_anew_beside_a_repository_that_the_token_may_not_see(
    run: RunFolder, hub: Server, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(run, 20)
    bring_up_to_date(uploader(run, URL))
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(UserError, match=r"403 Forbidden.*nobody knows whether the run has begun elsewhere"):
        restore(RunFolder(tmp_path / "fresh"), URL, print)
    with pytest.raises(UserError, match=f"{URL}: the repository is not there yet, or the token may not see it"):
        fetched_run(URL, "newest", print)


def test_what_a_gitignore_keeps_out_makes_no_whole_checkpoint(run: RunFolder, hub: Server, save: Save) -> None:
    save(run, 20)
    one = uploader(run, URL)
    hub.ignored = "data.pt"
    with pytest.raises(MirrorError, match=r"data\.pt was sent, and is not there in full"):
        bring_up_to_date(one)
    assert look(place(URL)).whole == {}
    hub.ignored = ""
    bring_up_to_date(one)
    assert list(look(place(URL)).whole) == [20]


def test_a_start_waits_as_long_as_the_hub_is_silent(
    run: RunFolder, hub: Server, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Hub.silence > 2 * Hub.beat
    save(run, 20)
    one = uploader(run, URL)
    bring_up_to_date(one)
    monkeypatch.setattr(Hub, "silence", 3.0)
    monkeypatch.setattr(fetch, "LOOK", 0.2)
    restore(RunFolder(tmp_path / "fresh"), URL, print)
    monkeypatch.setattr(Hub, "silence", BUSY)
    with (
        repeating(lambda: one._beat(place(URL), ended=False), 0.5, "beats"),
        pytest.raises(UserError, match=r"attempt 1 on .* is at work and mirrors to"),
    ):
        restore(RunFolder(tmp_path / "other"), URL, print)
