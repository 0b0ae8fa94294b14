"""A folder holds one experiment and one process at a time."""

import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest

from deepscaler.system.errors import UserError
from evaluation.folder import EvaluationFolder
from tests.evaluation.conftest import CONFIG, PROBLEMS, PROMPTS


@pytest.fixture
def folder(tmp_path: Path) -> EvaluationFolder:
    bound = EvaluationFolder(tmp_path / "run")
    bound.bind(CONFIG)
    return bound


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"temperature": 0.7}, r"temperature: 0.6 -> 0.7"),
        ({"weights": "sha256:11"}, r"weights: 'sha256:00' -> 'sha256:11'"),
        ({"num_samples": 2}, r"num_samples: 4 -> 2 \(it can only grow\)"),
        ({"seed": 1, "top_p": 1.0}, r"top_p: 0.95 -> 1.0; seed: 0 -> 1"),
    ],
)
def test_other_options_are_refused_with_the_difference(
    folder: EvaluationFolder, changed: dict[str, Any], message: str
) -> None:
    before = folder.config_path.read_bytes()
    with pytest.raises(UserError, match=message):
        folder.bind({**CONFIG, **changed})
    assert folder.config_path.read_bytes() == before


def test_a_folder_may_grow(folder: EvaluationFolder) -> None:
    folder.bind({**CONFIG, "datasets": ["amc"], "num_samples": 8})
    assert folder.read_config()["datasets"] == ["aime", "amc"]
    assert folder.read_config()["num_samples"] == 8


def test_other_problems_under_the_same_name_are_refused(folder: EvaluationFolder) -> None:
    folder.write_problems("aime", PROBLEMS, PROMPTS)
    folder.write_problems("aime", PROBLEMS, PROMPTS)
    with pytest.raises(UserError, match="holds other problems or prompts than aime has now"):
        folder.write_problems("aime", PROBLEMS[:2], PROMPTS)
    with pytest.raises(UserError, match="was the data, the chat template or the tokenizer changed"):
        folder.write_problems("aime", PROBLEMS, {**PROMPTS, "aime/1": (9,)})


def test_a_second_holder_is_refused_and_a_dead_one_is_not_waited_for(folder: EvaluationFolder) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=hold, args=(folder, ready))
    holder.start()
    assert ready.wait(240)
    with pytest.raises(UserError, match="another process is evaluating"), folder.held():
        pass
    holder.kill()
    holder.join()
    holder.close()
    with folder.held():
        pass


def hold(folder: EvaluationFolder, ready: Any) -> None:
    with folder.held():
        ready.set()

        time.sleep(600)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"), EvaluationFolder(tmp_path / "file").held():
        pass


def test_where_the_model_lies_and_whether_it_thinks_may_change(folder: EvaluationFolder) -> None:
    folder.bind({**CONFIG, "model": "/elsewhere/some-model", "thinking": "no"})
    assert folder.read_config()["thinking"] == "no"


@pytest.mark.parametrize(
    "stored",
    [[], {}, {**CONFIG, "datasets": None}, {**CONFIG, "max_tokens": "a"}, {**CONFIG, "datasets": ["../../x"]}, 5],
)
def test_a_foreign_config_is_refused_and_nothing_is_written(tmp_path: Path, stored: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError), EvaluationFolder(tmp_path).held():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("line", ["[1]", "{}", '{"id": "a", "problem": 5, "golds": []}', '{"id": "a", "problem": "b"}'])
def test_damaged_problems_are_named(folder: EvaluationFolder, line: str) -> None:
    folder.problems_path("aime").parent.mkdir()
    folder.problems_path("aime").write_text(line + "\n")
    with pytest.raises(UserError, match="cannot be read"):
        folder.read_problems("aime")


def test_a_broken_config_is_no_evaluation(folder: EvaluationFolder) -> None:
    folder.config_path.write_text("{")
    with pytest.raises(UserError, match="give the --output-dir of a `deepscaler evaluate` command"):
        folder.read_config()


def test_a_missing_file_is_named_once_without_a_number(tmp_path: Path) -> None:
    folder = EvaluationFolder(tmp_path / "none")
    for read in (lambda: folder.read_problems("none"), folder.read_config):
        with pytest.raises(UserError) as raised:
            read()
        assert "No such file or directory" in str(raised.value)
        assert "Errno" not in str(raised.value)
        assert str(raised.value).count(".json") == 1
