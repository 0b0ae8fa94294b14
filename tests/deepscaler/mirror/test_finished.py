"""A finished run's command uploads what its attempt had no time for, and nothing that another disk has uploaded."""

from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest

from deepscaler.mirror.fetch import restore
from deepscaler.mirror.hub import place
from deepscaler.mirror.layout import look, small_files
from deepscaler.recipes.published import RECIPES
from deepscaler.runs.chain import Chain, ChainOptions, build_chain, is_done
from deepscaler.runs.folder import RunFolder, now
from deepscaler.runs.mirror_state import MirrorState, is_complete, read_state, write_state
from deepscaler.training import mirroring, trainer
from deepscaler.training.manifest import TrainOptions
from tests.deepscaler.mirror.conftest import Save, start_attempt
from tests.deepscaler.mirror.test_upload import bring_up_to_date, uploader


def end(run: RunFolder) -> RunFolder:
    """Writes down that the last attempt has come to the run's end."""
    run.attempts()[-1].update_record(ended=now(), outcome="finished")
    return run


def mirror_all(run: RunFolder, url: str) -> None:
    one = uploader(run, url, attempt=run.attempts()[-1].number)
    bring_up_to_date(one)
    one.close()


def finish(run: RunFolder, url: str) -> list[str]:
    """Does what the command of a finished run does with its mirror; returns what is said."""
    said: list[str] = []
    restore(run, url, said.append)
    trainer._finish_mirror(run, TrainOptions(run_dir=run.root, mirror=url), deque(), said.append)
    return said


def test_a_disk_uploads_nothing_of_an_attempt_that_another_disk_has_finished(
    run: RunFolder, save: Save, tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/bucket/8k"
    save(run, 20)
    mirror_all(end(run), url)
    other = RunFolder(tmp_path / "other")
    assert "Mirroring to" not in "".join(finish(other, url)), "an empty disk has nothing of attempt 1"
    start_attempt(other, 2, resumed_step=20)
    save(other, 40)
    mirror_all(end(other), url)
    assert "Mirroring to" not in "".join(finish(run, url)), "the first disk has nothing of attempt 2"
    assert [attempt.number for attempt in run.attempts()] == [1, 2]
    assert set(look(place(url)).claims) == {1, 2}
    assert all(len(tokens) == 1 for tokens in look(place(url)).claims.values())


def test_an_attempt_that_never_reached_its_bucket_is_uploaded_by_the_same_command(
    run: RunFolder, save: Save, tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/bucket/8k"
    save(run, 20)
    mirror_all(end(run), url)
    other = RunFolder(tmp_path / "other")
    restore(other, url, print)
    end(start_attempt(other, 2, resumed_step=20))
    save(other, 40)
    assert not is_complete(other, url)
    assert f"Mirrored: {url} has step 40." in finish(other, url)
    assert is_complete(other, url)
    assert f"Mirrored: {url} has step 40." in finish(other, url), "what the attempt wrote at its end comes later"
    assert "attempts/0002/attempt.json" in small_files(place(url), look(place(url)))


def test_a_run_is_copied_to_another_place_whatever_the_first_one_has(
    run: RunFolder, save: Save, tmp_path: Path
) -> None:
    first, second = (f"file://{tmp_path}/{name}/8k" for name in ("first", "second"))
    save(run, 20)
    mirror_all(end(run), first)
    other = RunFolder(tmp_path / "other")
    restore(other, first, print)
    assert is_complete(other, first)
    assert not is_complete(other, second)
    assert f"Mirrored: {second} has step 20." in finish(end(other), second)
    assert is_complete(other, second)
    assert list(look(place(second)).whole) == [20]


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """One stage, finished and mirrored nowhere yet."""
    options = ChainOptions(train_options=("--mirror", f"file://{tmp_path}/bucket"))
    return build_chain(tmp_path / "chain", [replace(RECIPES["8k"], num_steps=20)], [], options)


def test_a_stage_is_done_once_its_mirror_has_all_of_it(chain: Chain, save: Save, tmp_path: Path) -> None:
    train, run, url = chain.steps()[0], chain.stages[1].run, f"file://{tmp_path}/bucket/1-8k"
    unmirrored = replace(chain, options=ChainOptions()).steps()[0]
    start_attempt(run, 1)
    assert not is_done(unmirrored)
    save(end(run), 20)
    assert is_done(unmirrored)
    assert not is_done(train), "its mirror has not begun"
    one = uploader(run, url)
    assert not is_done(train)
    bring_up_to_date(one)
    assert not is_done(train), "what was written since is not there"
    one.close()
    assert is_done(train)
    start_attempt(run, 2, resumed_step=20)
    save(end(run), 40)
    assert not is_done(train), "killed before its first look, the process of attempt 2 knows of nothing left"
    state = read_state(run)
    assert state
    assert (state.left, state.steps) == ([], [20])


def test_a_chain_on_an_empty_disk_counts_a_stage_that_came_from_its_mirror(
    chain: Chain, save: Save, tmp_path: Path
) -> None:
    train, run, url = chain.steps()[0], chain.stages[1].run, f"file://{tmp_path}/bucket/1-8k"
    before = RunFolder(tmp_path / "before")
    save(end(start_attempt(before, 1)), 20)
    mirror_all(before, url)
    assert not is_done(train)
    restore(run, url, print)
    assert is_done(train)


def test_a_process_that_is_out_of_time_leaves_the_mirror_incomplete(
    run: RunFolder, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path}/bucket/8k"
    save(run, 20)
    mirror_all(end(run), url)
    end(start_attempt(run, 2, resumed_step=20))
    save(run, 40)
    monkeypatch.setattr(mirroring, "FINISH", 0.0)
    monkeypatch.setattr(mirroring, "GRACE", 0.0)
    assert "The same command uploads it." in finish(run, url)[-1]
    assert not is_complete(run, url)


def test_a_state_of_an_older_kit_counts_as_incomplete(run: RunFolder) -> None:
    write_state(run, MirrorState(url="s3://bucket/8k"))
    path = run.root / "mirror.json"
    path.write_text(path.read_text().replace('"complete": 0', '"told": 1'))
    assert read_state(run)
    assert not is_complete(run, "s3://bucket/8k")
