"""Commands read what a mirror has now, whatever was fetched from its URL before."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.mirror import fetch
from deepscaler.mirror.bucket import Bucket
from deepscaler.mirror.cache import cached
from deepscaler.mirror.download import fetch_checkpoint
from deepscaler.mirror.fetch import fetched_run, restore
from deepscaler.mirror.layout import look
from deepscaler.runs.checkpoints import MERGED, Checkpoint, is_merged, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.holds import held
from deepscaler.runs.metrics import read_metrics
from deepscaler.system.errors import UserError
from deepscaler.system.files import locked, read_json, write_json
from deepscaler.training import merge as merging
from tests.deepscaler.mirror.conftest import Save, start_attempt
from tests.deepscaler.mirror.test_upload import bring_up_to_date, same_files, uploader
from tests.deepscaler.publish.hub import Repo, running_hub


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"file://{tmp_path}/bucket/8k"


@pytest.fixture
def failing_merger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends each merge at verl's merger, which takes seconds to say that the shards are not those of a model."""
    monkeypatch.setattr(merging, "python_command", lambda *words: ["false"])
    monkeypatch.setattr(merging, "_import", lambda: None)


def publishing(source: object, tmp_path: Path) -> list[str]:
    return ["publish", str(source), "--repo", "lab/toy", "--dry-run", "--output-dir", str(tmp_path / "published")]


def mirror(run: RunFolder, place: str, attempt: int = 1) -> None:
    one = uploader(run, place, attempt)
    bring_up_to_date(one)
    one.close()


def merge(run: RunFolder, checkpoint: Checkpoint) -> None:
    """Leaves what a merge would."""
    write_json(run.model / MERGED, {"step": checkpoint.step, "checkpoint": checkpoint.identity})


def test_a_bucket_that_holds_another_run_now_gives_nothing_of_the_first(
    run: RunFolder, place: str, save: Save, tmp_path: Path
) -> None:
    save(run, 20)
    mirror(run, place)
    start_attempt(run, 2, resumed_step=20)
    save(run, 40)
    mirror(run, place, attempt=2)
    assert sealed(fetched_run(place, "newest", print))[0].step == 40
    shutil.rmtree(tmp_path / "bucket")
    other = start_attempt(RunFolder(tmp_path / "other"), 1)
    save(other, 40, 30_000)
    mirror(other, place)
    copy = fetched_run(place, "newest", print)
    assert same_files(copy.checkpoints / "global_step_40", other.checkpoints / "global_step_40")
    assert [attempt.number for attempt in copy.attempts()] == [1]
    assert read_metrics(copy) == read_metrics(other)


def test_a_step_that_was_saved_again_is_fetched_and_merged_again(
    run: RunFolder, place: str, save: Save, tmp_path: Path
) -> None:
    for step in (20, 40):
        save(run, step)
    mirror(run, place)
    copy = fetched_run(place, "newest", print)
    merge(copy, sealed(copy)[0])
    assert fetched_run(place, "newest", print) == copy
    assert is_merged(copy, sealed(copy)[0]), "the same again changes nothing"
    other = RunFolder(tmp_path / "other")
    restore(other, place, print)
    shutil.rmtree(other.checkpoints / "global_step_40")  # lost, so that the next attempt resumes at 20
    start_attempt(other, 2, resumed_step=20)
    save(other, 40, 30_000)
    mirror(other, place, attempt=2)
    assert look(Bucket(place)).whole[40].attempt == 2
    copy = fetched_run(place, "newest", print)
    assert same_files(copy.checkpoints / "global_step_40", other.checkpoints / "global_step_40")
    assert not is_merged(copy, sealed(copy)[0])


def test_a_checkpoint_that_somebody_reads_stays_until_then(run: RunFolder, place: str, save: Save) -> None:
    save(run, 20)
    mirror(run, place)
    copy = fetched_run(place, "newest", print)
    save(run, 40)
    mirror(run, place)
    with locked(copy.checkpoints, UserError("busy")):  # as a merge does
        with held(copy, 20), pytest.raises(UserError, match=r"another process reads .*global_step_20"):
            fetched_run(place, "newest", print)
        assert [one.step for one in sealed(copy)] == [20]
        fetched_run(place, "newest", print)
        assert [one.step for one in sealed(copy)] == [40]
        with pytest.raises(UserError, match="busy"), locked(copy.checkpoints, UserError("busy")):
            raise AssertionError("two merge at once")


def test_of_two_that_restore_one_run_at_once_one_does(
    run: RunFolder, place: str, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(run, 20)
    mirror(run, place)
    fresh, begun, said = RunFolder(tmp_path / "fresh"), list[str](), list[str]()
    monkeypatch.setattr("deepscaler.system.files.LOCK_PATIENCE", 1.0)

    def fetch_while_another_starts(*given: Any) -> None:
        begun.append("fetching")
        assert len(begun) == 1, "two fetch at once"
        with pytest.raises(UserError, match=r"another process is fetching .* into .*fresh: wait for it"):
            restore(fresh, place, said.append)
        assert "waiting for it" in said[-1]
        fetch_checkpoint(*given)

    monkeypatch.setattr(fetch, "fetch_checkpoint", fetch_while_another_starts)
    restore(fresh, place, print)
    restore(fresh, place, print)
    assert [one.step for one in sealed(fresh)] == [20]


def test_a_copy_of_which_nobody_knows_the_run_is_fetched_again(run: RunFolder, place: str, save: Save) -> None:
    save(run, 20)
    mirror(run, place)
    root = cached(place).root
    for name in ("attempts/0007", "checkpoints/global_step_20", "checkpoints/.fetch-global_step_20", "model"):
        write_json(root / name / "seal.json", {"step": 20, "verl_step": 20, "world_size": 1, "files": {}})
    copy = fetched_run(place, "newest", print)
    assert same_files(copy.checkpoints / "global_step_20", run.checkpoints / "global_step_20")
    assert sorted(path.name for path in copy.checkpoints.iterdir()) == ["global_step_20"]
    assert not copy.model.exists()
    assert [attempt.number for attempt in copy.attempts()] == [1]


def test_files_that_an_interrupted_fetch_left_of_another_checkpoint_are_no_part_of_this_one(
    run: RunFolder, place: str, save: Save
) -> None:
    save(run, 20)
    mirror(run, place)
    copy = fetched_run(place, "newest", print)
    shutil.rmtree(copy.checkpoints)
    left = copy.checkpoints / ".fetch-global_step_20/actor"
    write_json(left / "model_world_size_2_rank_1.pt", {})
    write_json(left / "fsdp_config.json", {"world_size": 2})
    copy = fetched_run(place, "newest", print)
    assert same_files(copy.checkpoints / "global_step_20", run.checkpoints / "global_step_20")


def test_a_disk_that_was_overtaken_takes_the_mirrors_line(
    run: RunFolder, place: str, save: Save, tmp_path: Path
) -> None:
    """Attempt 1 saved step 60, and died before it was mirrored; attempt 2 resumed elsewhere at 40, and saved 50."""
    for step in (20, 40):
        save(run, step)
    mirror(run, place)
    save(run, 60)
    other = RunFolder(tmp_path / "other")
    restore(other, place, print)
    start_attempt(other, 2, resumed_step=40)
    save(other, 50)
    (other.root / "rollouts/60.jsonl").write_text('{"of": 2}\n')
    mirror(other, place, attempt=2)
    said: list[str] = []
    restore(run, place, said.append)
    assert [one.step for one in sealed(run)] == [50, 40, 20]
    assert same_files(run.checkpoints / "global_step_50", other.checkpoints / "global_step_50")
    [aside] = run.checkpoints.glob("overtaken-global_step_60-*")
    assert any(str(aside) in line and "resumed at step 40 elsewhere" in line for line in said)
    assert json.loads((run.root / "rollouts/60.jsonl").read_text()) == {"of": 2}
    assert read_metrics(run) == read_metrics(other)


def test_what_is_left_of_fetching_another_run_is_not_taken_for_this_one(
    run: RunFolder, place: str, save: Save, tmp_path: Path
) -> None:
    save(run, 20)
    mirror(run, place)
    fresh = RunFolder(tmp_path / "fresh")
    restore(fresh, place, print)
    fresh.manifest_path.unlink()  # killed before the last file
    shutil.rmtree(tmp_path / "bucket")
    other = start_attempt(RunFolder(tmp_path / "other"), 1)
    save(other, 20, 30_000)
    mirror(other, place)
    with pytest.raises(UserError, match="the mirror of another run than"):
        restore(fresh, place, print)
    assert not fresh.is_run


@pytest.mark.usefixtures("failing_merger")
def test_publishing_a_mirror_merges_its_newest_checkpoint_whatever_the_cache_holds(
    run: RunFolder,
    place: str,
    save: Save,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = publishing(place, tmp_path)
    for step in (20, 40):
        save(run, step)
        mirror(run, place)
        assert main(command) == 2
        assert f"Merging 1 shards of step {step} " in capsys.readouterr().out
        merge(cached(place), sealed(cached(place))[0])
        assert main(command) == 2
        assert f"The model of step {step} is merged already" in capsys.readouterr().out


def test_publishing_a_folder_says_that_its_model_is_not_the_newest(
    run: RunFolder, save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = publishing(run.root, tmp_path)
    save(run, 20)
    merge(run, sealed(run)[0])
    assert main(command) == 2, "there is no model beside the merge's record"
    assert "WARNING" not in capsys.readouterr().out
    save(run, 40)
    assert main(command) == 2
    [line] = [line for line in capsys.readouterr().out.splitlines() if "WARNING" in line]
    assert "is of step 20, not the newest checkpoint, of step 40" in line
    assert line.endswith(f"deepscaler merge {run.root}")


@pytest.mark.usefixtures("failing_merger")
def test_a_chain_is_read_from_the_mirrors_of_its_stages(
    run: RunFolder,
    place: str,
    save: Save,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish = publishing(place, tmp_path)
    save(run, 20)
    mirror(run, f"{place}/9-8k")
    for number, step in ((10, 40), (11, 0)):
        stage = start_attempt(RunFolder(tmp_path / str(number)), 1)
        if step:
            save(stage, step)
        mirror(stage, f"{place}/{number}-16k")
    for _ in range(2):
        assert main(["report", place]) == 0
        told = capsys.readouterr().out
        assert [stage["directory"] for stage in read_json(cached(place).root / "chain.json")["stages"]] == [
            "9-8k",
            "10-16k",
            "11-16k",
        ]
        assert f"Report: {cached(place).root / 'report.html'}" in told
        assert main(publish) == 2
        assert "Merging 1 shards of step 40 " in capsys.readouterr().out
    assert [one.step for one in sealed(cached(f"{place}/10-16k"))] == [40]
    assert sealed(cached(f"{place}/9-8k")) == [], "an earlier stage's checkpoint is not read"
    assert main(["merge", place]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"is the mirror of a chain: give that of a stage, {place}/9-8k or {place}/10-16k" in line


@pytest.mark.parametrize("entry", [None, [], {}, {"object": 1, "size": 2, "sha256": 3}, {"object": "x", "size": "2"}])
def test_what_others_write_into_a_bucket_ends_in_one_line(
    run: RunFolder, place: str, save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: object
) -> None:
    save(run, 20)
    mirror(run, place)
    bucket, folder = Bucket(place), look(Bucket(place)).whole[20].folder
    bucket.write(f"{folder}/manifest.json", json.dumps({"files": {"data.pt": entry}}).encode())
    assert main(["merge", place]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "manifest.json is not a manifest" in line
    bucket.write("attempts/0001/files.json", json.dumps({"run.json": entry}).encode())
    assert main(["merge", place]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "holds no run" in line
    bucket.write("mirror.json", b'{"run": null}')
    with pytest.raises(UserError, match="does not say which run it is"):
        restore(RunFolder(tmp_path / "fresh"), place, print)


READ = """
import sys
from pathlib import Path
from deepscaler.mirror.fetch import fetched_run
print(fetched_run("hf://lab/8k", "newest", print).checkpoints / "global_step_40")
"""


def test_a_copy_on_the_hub_is_read(run: RunFolder, place: str, save: Save, tmp_path: Path) -> None:
    for step in (20, 40):
        save(run, step)
    mirror(run, place)
    root = tmp_path / "bucket/8k"
    files = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}
    with running_hub() as hub:
        hub.repos["lab/8k"] = Repo(branches={"main": files})
        # In a process of its own, because huggingface_hub reads the variables when it is imported.
        settings = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run(
            [sys.executable, "-c", READ], env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert same_files(Path(done.stdout.splitlines()[-1]), run.checkpoints / "global_step_40")
