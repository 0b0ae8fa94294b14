"""Room on a run's disk, on a real small one: said before, during and after, with path, size wanted and size free."""

import errno
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from deepscaler.cli import main
from deepscaler.recipes.disk import checkpoint_bytes, checkpoints_at_once
from deepscaler.recipes.model_shape import shape_of
from deepscaler.recipes.published import RECIPES
from deepscaler.runs.checkpoints import publish
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.space import free_bytes, room_of
from deepscaler.system.errors import UserError
from deepscaler.system.files import FullDiskError, in_bytes, write_text
from deepscaler.training import room as rooms
from deepscaler.training.room import SpaceWatch, make_room, print_room
from evaluation.samples import SampleStore
from tests.deepscaler.runs.conftest import WriteCheckpoint
from tests.deepscaler.runs.runs import make_run
from tests.evaluation.conftest import make_sample

MB = 1 << 20
RECIPE = RECIPES["8k"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MB}", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, left: int) -> Path:
    """Leaves so many bytes free, and less than a block more."""
    filling = folder / "filling"
    with filling.open("ab") as file:
        file.write(b"x" * max(0, free_bytes(folder) - left))
    return filling


def test_sizes_are_those_of_the_models_shape() -> None:
    size = checkpoint_bytes(RECIPE, shape_of(RECIPE.model))
    assert in_bytes(size) == "21.3 GB"
    adapter = replace(RECIPE, profile="fast", lora_rank=8)
    assert checkpoint_bytes(adapter, shape_of(RECIPE.model)) == size // 3
    assert checkpoints_at_once(RECIPE) == 3
    assert checkpoints_at_once(replace(RECIPE, keep=2, keep_every=200, keep_best=1)) == 2 + 5 + 1 + 1
    assert [in_bytes(number) for number in (0, 999, 1000, 2.5e9, 3e15)] == [
        "0 bytes", "999 bytes", "1.0 kB", "2.5 GB", "3000.0 TB",
    ]  # fmt: skip


def test_a_checkpoint_on_disk_counts_more_than_the_shape(run: RunFolder, write_checkpoint: WriteCheckpoint) -> None:
    before = room_of(run, RECIPE)
    assert before
    assert not before.measured
    path = publish(run, write_checkpoint(run.attempt(1), 20), step=20, verl_step=20)
    (run.root / "rollouts").mkdir()
    for step in (19, 20):
        (run.root / f"rollouts/{step}.jsonl").write_bytes(b"x" * 1000 * step)
    room = room_of(run, RECIPE)
    assert room
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and file.name != "seal.json")
    assert (room.checkpoint, room.measured, room.rollouts) == (size, True, 19_500)
    assert room.wanted == 2 * size + (RECIPE.num_steps - 20) * 19_500
    assert room_of(run, replace(RECIPE, model="no/model")) is not None
    assert room_of(RunFolder(run.root / "x"), replace(RECIPE, model="no/model")) is None


def test_a_plan_says_what_is_needed_and_what_is_free(small: Path) -> None:
    console = Console(file=StringIO(), width=400)
    print_room(RunFolder(small / "run"), RECIPE, console)
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert "a checkpoint will have about 21.3 GB, at most 3 exist at once" in told
    assert f"1.0 MB are free in {small}/run" in told
    assert "not even one checkpoint fits" in told


def test_a_start_makes_room_of_what_is_half_written_or_refuses(small: Path, write_checkpoint: WriteCheckpoint) -> None:
    run = RunFolder(small / "run")
    publish(run, write_checkpoint(run.attempt(1), 20), step=20, verl_step=20)
    size = room_of(run, RECIPE).checkpoint  # type: ignore[union-attr]
    torn = write_checkpoint(run.attempt(1), 40, tracked=False)
    run.attempt(2).root.mkdir()
    filling = fill(small, left=4096)
    said: list[str] = []
    make_room(run, RECIPE, said.append)
    assert not torn.exists()
    assert "removing what attempt 1 left half-written" in said[0]
    assert "room for 1 checkpoints" in said[1], "and still little is left"
    fill(small, left=size // 2)
    with pytest.raises(UserError, match=r"small/run has .* free, the next checkpoint needs .*: free some space"):
        make_room(run, RECIPE, said.append)
    filling.unlink()
    make_room(run, RECIPE, said.append)


def test_a_running_training_says_each_lower_number_once(
    small: Path, write_checkpoint: WriteCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(small / "run")
    publish(run, write_checkpoint(run.attempt(1), 20), step=20, verl_step=20)
    size = room_of(run, RECIPE).checkpoint  # type: ignore[union-attr]
    monkeypatch.setattr(rooms, "LOOK", 0.0)
    watch = SpaceWatch(run, RECIPE)
    fill(small, left=4 * size + size // 2)
    assert watch.look() == ""
    fill(small, left=3 * size + size // 2)
    assert "room for 3 checkpoints" in watch.look()
    for fitting, says in ((4, False), (3, False), (5, False), (3, True), (3, False)):
        (small / "filling").unlink()
        fill(small, left=fitting * size + size // 2)
        assert bool(watch.look()) == says, fitting
    fill(small, left=2 * size + size // 2)
    assert "room for 2 checkpoints" in watch.look()
    assert watch.look() == ""
    fill(small, left=size // 2)
    assert "room for 0 checkpoints" in watch.look()


def test_status_warns_from_three_checkpoints_on(
    small: Path, write_checkpoint: WriteCheckpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(small / "run")
    publish(run, write_checkpoint(run.attempt(1), 20), step=20, verl_step=20)
    size = room_of(run, RECIPE).checkpoint  # type: ignore[union-attr]
    for fitting in (4, 3, 2):
        fill(small, left=fitting * size + size // 2)
        assert main(["status", str(run.root)]) == 0
        assert (f"room for {fitting} of" in capsys.readouterr().out) == (fitting <= 3)


def test_a_full_disk_names_file_size_wanted_and_size_free(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(small, left=0)
    file = small / "report.json"
    with pytest.raises(FullDiskError, match=r"300\.0 kB needed, 0 bytes free") as caught:
        write_text(file, "x" * 300_000)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(file))
    assert not list(small.glob(".report*"))
    with SampleStore(small / "samples.jsonl") as store, pytest.raises(FullDiskError, match="needed, 0 bytes free"):
        store.append(make_sample(1, 1, "a"))
    monkeypatch.setenv("DEEPSCALER_CACHE", str(small))
    assert main(["data", "prepare", "arithmetic"]) == 2
    told = capsys.readouterr().err
    assert "0 bytes free" in told
    assert "arithmetic.parquet" in told
    assert len(told.splitlines()) == 1
