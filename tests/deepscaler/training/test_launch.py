"""What a trainer is started with on this machine, whatever the environment holds."""

import errno
import os
import re
import subprocess
import tempfile
from collections import deque
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from deepscaler.recipes.published import RECIPES
from deepscaler.runs import folder
from deepscaler.runs.folder import RunFolder
from deepscaler.system import paths
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_json
from deepscaler.training import trainer
from deepscaler.training.launch import Launch, prepare_launch
from deepscaler.training.manifest import Inputs, TrainOptions
from deepscaler.training.stalls.policy import limits_of
from deepscaler.training.stalls.watcher import Stall, Watcher
from deepscaler.training.start import Start
from deepscaler.training.trainer import _say_end, train

SESSION = "session_2026-11-27_21-03-22_123456_4194304/sockets/plasma_store"
"""Path of a socket below the folder of Ray 2.60: a date, microseconds, the longest process number."""


@pytest.fixture(autouse=True)
def temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets the temporary folder, which Python asks for once."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def start(folder: Path) -> Start:
    run = RunFolder(folder / "run")
    attempt = run.attempt(1)
    attempt.root.mkdir(parents=True)
    return Start(
        run=run,
        attempt=attempt,
        recipe=replace(RECIPES["quickstart"], model="m"),
        options=TrainOptions(run_dir=run.root, device="cpu"),
        inputs=Inputs(model="m", train_files=(), validation_files=()),
    )


def launch(folder: Path) -> Launch:
    return prepare_launch(start(folder), Console(quiet=True))


def longest_socket(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns the path that Ray's own code gives its longest socket in an environment."""
    from ray._common.utils import get_default_ray_temp_dir  # noqa: PLC0415  an optional package

    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.setenv(name, environment[name])
    return f"{get_default_ray_temp_dir()}/{SESSION}"


@pytest.mark.parametrize("length", [*range(20, 32), 45])
def test_rays_sockets_have_room_below_any_temporary_folder(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private.utils import validate_socket_filepath  # noqa: PLC0415  an optional package

    with tempfile.TemporaryDirectory(prefix="x" * (length - len("/tmp/12345678")), dir="/tmp") as usual:
        assert len(usual) == length
        monkeypatch.setenv("TMPDIR", usual)
        launched = launch(tmp_path)
        assert launched.ray_dir is not None
        validate_socket_filepath(longest_socket(launched.environment, monkeypatch))
        if launched.ray_dir.parent == Path(usual):
            assert launched.environment["TMPDIR"] == usual
        else:
            assert launched.environment["TMPDIR"] == str(launched.ray_dir), "multiprocessing has sockets there, too"
            with pytest.raises(OSError, match="AF_UNIX path length"):
                validate_socket_filepath(f"{usual}/dsr-12345678/ray/{SESSION}")  # it would not have had room
        launched.clean_up()
        assert not launched.ray_dir.exists()


def test_a_short_temporary_folder_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as short:
        monkeypatch.setenv("TMPDIR", short)
        tempfile.tempdir = None
        assert paths.short_temporary_folder() == Path(short)


def test_a_long_temporary_folder_without_a_short_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(paths.os, "access", lambda path, _: path == long)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"x has a path of .* bytes, and /tmp is not writable: .* TMPDIR"):
        paths.short_temporary_folder()


@pytest.mark.parametrize("name", ["ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"])
def test_amds_variables_do_not_reach_verl(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    launched = launch(tmp_path)
    launched.clean_up()
    assert name not in launched.environment
    assert launched.environment["CUDA_VISIBLE_DEVICES"] == "0"


def test_a_trainer_that_failed_for_lack_of_room_is_told_where_there_is_how_much(tmp_path: Path) -> None:
    failed = start(tmp_path)
    after = "what Ray says afterwards\n" * 200
    failed.attempt.log_path.write_text(f"OSError: [Errno 28] {os.strerror(errno.ENOSPC)}\n{after}")
    console = Console(record=True, width=300)
    assert _say_end(failed, "failed", console) == 1
    told = console.export_text().splitlines()[-1]
    assert told.startswith(f"{failed.attempt.checkpoints}: the disk or quota is full (")
    assert re.search(r"[\d.]+ [kMGT]?B free in /.*; make room, then rerun the same command\.$", told)
    failed.attempt.log_path.write_text("ValueError\n")
    _say_end(failed, "failed", console)
    assert "is full" not in console.export_text()


def test_a_start_whose_data_another_one_replaced_binds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    composed = {"data": {"train.parquet": "0123", "validation.parquet": "4567"}, "hardware": {"gpus": []}}
    monkeypatch.setattr(trainer, "check_inputs", lambda *_: (start(tmp_path / "other").inputs, composed))
    options = TrainOptions(run_dir=tmp_path / "run", device="cpu", skip_doctor=True)
    with pytest.raises(UserError, match=r"train\.parquet was replaced by another start"):
        train(RECIPES["quickstart"], options, Console(quiet=True))
    assert not RunFolder(tmp_path / "run").is_run


@pytest.fixture
def bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainOptions:
    """Options of a training whose inputs are as if they had been found."""
    composed, inputs = {"data": {}, "hardware": {"gpus": []}}, start(tmp_path / "other").inputs
    monkeypatch.setattr(trainer, "check_inputs", lambda *_: (inputs, composed))
    for name in ("check_composed", "keep_first_estimate", "prepare_launch"):
        monkeypatch.setattr(trainer, name, lambda *_: None)
    return TrainOptions(run_dir=tmp_path / "run", device="cpu", skip_doctor=True)


def test_a_file_system_that_fails_ends_an_attempt_as_one_that_a_launcher_starts_again(
    bound: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(trainer, "_supervise", fail)
    assert train(RECIPES["quickstart"], bound, Console(quiet=True)) == 1
    [attempt] = RunFolder(bound.run_dir).attempts()
    assert attempt.read_record()["outcome"] == "failed"


@pytest.mark.parametrize(("asked", "code"), [("", 0), ("cancelled", 1)])
def test_an_attempt_that_the_kit_cuts_short_to_free_memory_is_followed_by_another_unless_a_user_stops_it(
    bound: TrainOptions, monkeypatch: pytest.MonkeyPatch, asked: str, code: int
) -> None:
    def supervise(one: Start, *_: object) -> str:
        if one.attempt.number > 1:
            return trainer.FINISHED
        trainer._mind_memory(one.attempt, "the node is full:  saving and restarting")
        if asked:
            one.attempt.stop_path.write_text(asked)
        return trainer.CUT_SHORT

    monkeypatch.setattr(trainer, "_supervise", supervise)
    assert train(RECIPES["quickstart"], bound, Console(quiet=True)) == code
    assert len(RunFolder(bound.run_dir).attempts()) == (1 if asked else 2)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("failures", [1, 99])
def test_a_file_system_that_fails_for_a_moment_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, wrapped: bool
) -> None:
    one = start(tmp_path)
    write_json(one.run.manifest_path, {"recipe": asdict(one.recipe)})
    answers = [OSError(errno.ESTALE, "Stale file handle")] * failures

    def check(*_: object) -> None:
        if answers and wrapped:  # as by those who read a record
            raise UserError("it cannot be read") from answers.pop()
        if answers:
            raise answers.pop()

    monkeypatch.setattr(trainer, "check_ownership", check)
    monkeypatch.setattr(trainer, "POLL", 0.1)
    monkeypatch.setattr(trainer, "STALE", 0.5)
    nothing: Any = SimpleNamespace(look=lambda: None, news=False)
    with subprocess.Popen(["sleep", "1.5"]) as process:
        if failures == 1:
            trainer._watch(one, process, nothing, nothing, deque(), Console(quiet=True))
            assert process.poll() == 0
        else:
            with pytest.raises(OSError, match="Stale"):
                trainer._watch(one, process, nothing, nothing, deque(), Console(quiet=True))
            process.kill()


def test_a_stall_that_could_not_be_written_down_is_told_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = start(tmp_path)
    watcher = Watcher(one.run, one.attempt, limits_of(one.options), {}, print)
    watcher._set(Stall(sentence="no progress", folder=tmp_path, helps_to_restart=True))

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(folder, "write_json", fail)
        with pytest.raises(OSError, match="Input/output"):
            trainer._mind_stall(one, watcher, Console(quiet=True))
    assert watcher.news
    assert not trainer._mind_stall(one, watcher, Console(quiet=True)), "a Ray of its own: a stall is only reported"
    assert one.attempt.read_record()["stall"] == "no progress"
