"""verl's methods, wrapped, write a step's outputs before it counts; tests/integration/test_same.py kills trainings."""

import json
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepscaler.runs.fence import FencedError
from tests.deepscaler.runs.runs import make_run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that verl imports
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    from deepscaler.verl_plugin import durable


def test_samples_bear_the_runs_number_of_a_step_that_verl_counts_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write = durable._numbered(PPOTrainer._write_generations, 40)
    write(["2 + 2 ="], ["4"], ["4"], [1.0], {"uid": ["a_0_0"]}, str(tmp_path), 2)
    [path] = tmp_path.iterdir()
    assert path.name == "42.jsonl"
    assert json.loads(path.read_text())["step"] == 42
    assert capsys.readouterr().out


def test_a_validation_ends_with_its_file(tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(global_steps=3, _write_generations=_slow_write)
    PPOTrainer._init_dump_executor(trainer)

    def validate(one: Any) -> dict[str, float]:
        PPOTrainer._dump_generations(one, [], [], [], [], {}, str(tmp_path / "file"))
        return {"acc": 0.5}

    assert durable._waiting(validate)(trainer) == {"acc": 0.5}
    assert (tmp_path / "file").is_file()
    trainer._dump_executor.shutdown()


def _slow_write(*arguments: Any) -> None:
    time.sleep(0.3)
    Path(arguments[-2]).touch()


def test_a_fenced_trainer_neither_writes_nor_saves(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for number in (1, 2):
        run.attempt(number).root.mkdir(parents=True)
    save = durable._writing_first(pytest.fail, run, run.attempt(1))
    with pytest.raises(FencedError):
        save(SimpleNamespace())
    assert not run.attempt(1).saved_path.exists()
