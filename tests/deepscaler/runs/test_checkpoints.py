"""Only whole checkpoints count, and nothing starts over silently."""

import json
import shutil
from functools import partial

import pytest

from deepscaler.runs import checkpoints
from deepscaler.runs.checkpoints import (
    MERGED,
    PREFIX,
    SEAL,
    adopt_leftovers,
    holding,
    is_merged,
    newest,
    publish,
    sealed,
    unreadable,
)
from deepscaler.runs.fence import FencedError, check_ownership
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.retention import Retention, best_whole, prune
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_json
from tests.deepscaler.runs.conftest import WriteCheckpoint


def published(run: RunFolder, write: WriteCheckpoint, *steps: int, attempt: int = 1) -> None:
    for step in steps:
        publish(run, write(run.attempt(attempt), step), step=step, verl_step=step)


def test_the_newest_whole_checkpoint_is_used(run: RunFolder, write_checkpoint: WriteCheckpoint) -> None:
    published(run, write_checkpoint, 20, 100, 40)
    said: list[str] = []
    found = newest(run, said.append)
    assert found
    assert (found.step, found.world_size, said) == (100, 2, [])
    seal = json.loads((found.path / SEAL).read_text())
    assert seal["files"]["data.pt"] == (found.path / "data.pt").stat().st_size
    assert len(seal["files"]) == 3 * 2 + 2


@pytest.mark.parametrize("harm", ["flipped", "shortened", "removed", "emptied"])
def test_a_damaged_shard_is_set_aside_and_said(run: RunFolder, write_checkpoint: WriteCheckpoint, harm: str) -> None:
    published(run, write_checkpoint, 20, 40)
    shard = run.checkpoints / f"{PREFIX}40/actor/optim_world_size_2_rank_1.pt"
    content = bytearray(shard.read_bytes())
    if harm == "flipped":
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    elif harm == "shortened":
        shard.write_bytes(content[:-100])
    elif harm == "emptied":
        shard.write_bytes(b"\0" * len(content))
    else:
        shard.unlink()
    said: list[str] = []
    found = newest(run, said.append)
    assert found
    assert found.step == 20
    assert "WARNING" in said[0]
    assert "optim_world_size_2_rank_1.pt" in said[0]
    assert [checkpoint.step for checkpoint in sealed(run)] == [20]
    assert list(run.checkpoints.glob("damaged-*"))


def test_of_two_that_find_one_damaged_at_the_same_time_both_go_on(
    run: RunFolder, write_checkpoint: WriteCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(run, write_checkpoint, 20, 40)
    (run.checkpoints / f"{PREFIX}40/data.pt").write_bytes(b"")
    look, others = checkpoints.damage, []

    def look_while_another_does(*given: object) -> list[str]:
        found = look(*given)  # type: ignore[arg-type]
        if not others:
            others.append(given)
            assert newest(run, print)
        return found

    monkeypatch.setattr(checkpoints, "damage", look_while_another_does)
    found = newest(run, print)
    assert found
    assert found.step == 20
    assert len(list(run.checkpoints.glob("damaged-*"))) == 1


def test_a_step_may_be_damaged_again_and_a_pid_be_the_same(run: RunFolder, write_checkpoint: WriteCheckpoint) -> None:
    for attempt in (1, 2):
        published(run, write_checkpoint, *([20, 40] if attempt == 1 else [40]), attempt=attempt)
        (run.checkpoints / f"{PREFIX}40/data.pt").write_bytes(b"")
        found = newest(run, print)
        assert found
        assert found.step == 20
    assert len(list(run.checkpoints.glob("damaged-*"))) == 2


def test_what_a_newer_attempt_overtook_while_it_was_synced_does_not_count(
    run: RunFolder, write_checkpoint: WriteCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = map(run.attempt, (1, 2, 3))
    saved = write_checkpoint(first, 40)
    monkeypatch.setattr(checkpoints, "sync_tree", lambda _: second.root.mkdir())
    with pytest.raises(FencedError, match="attempt 2 has taken over"):
        publish(run, saved, step=40, verl_step=40, check_ownership=partial(check_ownership, run, first))
    assert sealed(run) == []
    monkeypatch.undo()
    second.update_record(resumed_step=20)
    third.root.mkdir()
    said: list[str] = []
    adopt_leftovers(run, said.append)
    assert sealed(run) == []
    assert "a checkpoint of step 40, without which the run has gone on" in said[0]


def test_what_an_interrupted_removal_left_does_not_keep_the_name(
    run: RunFolder, write_checkpoint: WriteCheckpoint
) -> None:
    published(run, write_checkpoint, 40)
    (run.checkpoints / f"{PREFIX}40" / SEAL).unlink()
    published(run, write_checkpoint, 40, attempt=2)
    assert [checkpoint.step for checkpoint in sealed(run)] == [40]


def test_a_reader_that_comes_after_the_removal_is_told(run: RunFolder, write_checkpoint: WriteCheckpoint) -> None:
    published(run, write_checkpoint, 20, 40)
    [_, older] = sealed(run)
    with holding(run, older):
        prune(run, Retention(1))
        assert older.path.is_dir()
    prune(run, Retention(1))
    with pytest.raises(UserError, match=r"global_step_20 was removed a moment ago"), holding(run, older):
        raise AssertionError("nothing is there to read")


def test_training_never_starts_over_silently(run: RunFolder, write_checkpoint: WriteCheckpoint) -> None:
    assert newest(run, print) is None
    published(run, write_checkpoint, 20)
    (run.checkpoints / f"{PREFIX}20/data.pt").unlink()
    for _ in range(2):  # nor when the same command is given again
        with pytest.raises(UserError, match="none of the 1 checkpoints"):
            newest(run, print)


def test_what_a_killed_attempt_had_finished_is_kept(run: RunFolder, write_checkpoint: WriteCheckpoint) -> None:
    write_checkpoint(run.attempt(1), 20)
    said: list[str] = []
    adopt_leftovers(run, said.append)
    assert [checkpoint.step for checkpoint in sealed(run)] == [20]
    assert "was killed right after it saved step 20" in said[0]


@pytest.mark.parametrize("lacking", ["tracker", "config", "shard"])
def test_what_it_had_not_finished_is_not(run: RunFolder, write_checkpoint: WriteCheckpoint, lacking: str) -> None:
    path = write_checkpoint(run.attempt(1), 20, tracked=lacking != "tracker")
    if lacking == "config":
        (path / "actor/fsdp_config.json").unlink()
    if lacking == "shard":
        shard = path / "actor/model_world_size_2_rank_0.pt"
        shard.write_bytes(shard.read_bytes()[:-50])
    said: list[str] = []
    adopt_leftovers(run, said.append)
    assert sealed(run) == []
    assert "half-written checkpoint of step 20" in said[0]


def test_steps_count_on_after_a_change_of_world_size(run: RunFolder, write_checkpoint: WriteCheckpoint) -> None:
    run.attempt(1).root.mkdir(parents=True)
    run.attempt(1).update_record(step_offset=40)
    write_checkpoint(run.attempt(1), 10, world_size=1)
    adopt_leftovers(run, print)
    found = newest(run, print)
    assert found
    assert (found.step, found.verl_step, found.world_size) == (50, 10, 1)


def test_old_checkpoints_are_pruned_across_attempts(run: RunFolder, write_checkpoint: WriteCheckpoint) -> None:
    published(run, write_checkpoint, 10, 20, attempt=1)
    write_checkpoint(run.attempt(1), 30, tracked=False)
    published(run, write_checkpoint, 40, attempt=2)
    prune(run, Retention(2))
    assert [checkpoint.step for checkpoint in sealed(run)] == [40, 20]
    assert not run.attempt(1).checkpoints.exists()
    assert sorted(path.name for path in run.checkpoints.iterdir()) == [f"{PREFIX}20", f"{PREFIX}40"]


def validated(run: RunFolder, accuracies: dict[int, float], attempt: int = 1) -> None:
    """Logs validations as verl does, with a second data set that says the opposite, but less."""
    lines = [
        {"step": step, "data": {"val-core/aime/acc/mean@8": value, "val-core/amc/acc/mean@8": 0.5 - value / 10}}
        for step, value in accuracies.items()
    ]
    write_json(run.manifest_path, {"recipe": {"max_response_length": 8}})
    path = run.attempt(attempt).metrics_path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_best_checkpoint_stays_beside_the_newest(run: RunFolder, write_checkpoint: WriteCheckpoint) -> None:
    published(run, write_checkpoint, 10)
    for step in (20, 30, 40, 50):  # as verl goes: a step is validated after it was saved
        validated(run, {done: {10: 0.1, 20: 0.4, 30: 0.2, 40: 0.3}[done] for done in range(10, step, 10)})
        published(run, write_checkpoint, step)
        prune(run, Retention(1, best=1))
    assert [checkpoint.step for checkpoint in sealed(run)] == [50, 20]
    found = newest(run, print)
    assert found
    assert found.step == 50
    best = best_whole(run, print)
    assert best
    assert best.step == 20
    validated(run, {10: 0.1, 20: 0.4, 30: 0.2, 40: 0.3, 50: 0.4})
    best = best_whole(run, print)
    assert best
    assert best.step == 50, "the newest of equals"
    prune(run, Retention(1, best=1))
    assert [checkpoint.step for checkpoint in sealed(run)] == [50]


def test_the_best_is_found_after_a_kill_and_over_attempts(run: RunFolder, write_checkpoint: WriteCheckpoint) -> None:
    published(run, write_checkpoint, 10, 20)
    validated(run, {10: 0.1, 20: 0.4})
    published(run, write_checkpoint, 30, attempt=2)  # killed before it was validated
    validated(run, {}, attempt=2)
    run.attempt(2).update_record(resumed_step=20, step_offset=0)
    with run.attempt(2).metrics_path.open("a") as file:
        file.write('{"step": 30, "data": {"val-core/aime/acc')
    prune(run, Retention(1, best=1))
    assert [checkpoint.step for checkpoint in sealed(run)] == [30, 20]
    (run.checkpoints / f"{PREFIX}20/data.pt").write_bytes(b"")
    said: list[str] = []
    with pytest.raises(UserError, match=r"no checkpoint of .* was validated"):
        best_whole(run, said.append)
    assert "step 20 is damaged" in said[0], "a damaged best is set aside, too"


SEALS = ["{", "{}", "[]", '{"step": "x"}', '{"step": 40, "verl_step": 40, "world_size": 2, "files": {"a": "b"}}', None]


@pytest.mark.parametrize("seal", [*SEALS, "[" * 5000])
def test_a_checkpoint_with_a_damaged_seal_is_set_aside_and_said(
    run: RunFolder, write_checkpoint: WriteCheckpoint, seal: str | None
) -> None:
    published(run, write_checkpoint, 20)
    path = run.checkpoints / f"{PREFIX}40"
    if seal is None:
        path.write_text("no folder")
    else:
        path.mkdir()
        (path / SEAL).write_text(seal)
    assert [checkpoint.step for checkpoint in sealed(run)] == [20]
    assert list(unreadable(run)) == [path]
    said: list[str] = []
    found = newest(run, said.append)
    assert found
    assert found.step == 20
    assert "WARNING: the checkpoint of step 40 is damaged (" in said[0]
    assert not path.exists()
    assert unreadable(run) == {}


def test_only_numbers_of_ascii_digits_are_steps_and_attempts(run: RunFolder) -> None:
    for name in ("1²", "1x", "٣"):
        (run.root / "attempts" / name).mkdir(parents=True)
        (run.checkpoints / f"{PREFIX}{name}").mkdir(parents=True)
        (run.attempt(1).checkpoints / f"{PREFIX}{name}").mkdir(parents=True)
    assert [attempt.number for attempt in run.attempts()] == [1]
    adopt_leftovers(run, print)
    assert newest(run, print) is None


def test_a_model_is_of_one_checkpoint_and_of_no_other_of_its_step(
    run: RunFolder, write_checkpoint: WriteCheckpoint
) -> None:
    published(run, write_checkpoint, 20)
    [first] = sealed(run)
    assert not is_merged(run, first)
    write_json(run.model / MERGED, {"step": 20, "checkpoint": first.identity})
    assert is_merged(run, first)
    shutil.rmtree(first.path)  # lost, and saved again by a later attempt
    published(run, write_checkpoint, 20, attempt=2)
    assert not is_merged(run, sealed(run)[0])
    write_json(run.model / MERGED, {"step": 20})
    assert not is_merged(run, sealed(run)[0]), "nothing tells which of the two it is of"
    for text in ("[]", "[" * 5000, "{}"):
        (run.model / MERGED).write_text(text)
        assert not is_merged(run, sealed(run)[0])
