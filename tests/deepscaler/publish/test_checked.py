"""A record comes from strangers: whatever it holds is refused in one line, or is harmless."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.publish.checked import MAX_BYTES
from deepscaler.publish.manifest import FILE, read_portable
from deepscaler.publish.recorded import read_recorded
from deepscaler.publish.repeat import Here, compared_steps, repetition
from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json, write_json
from tests.deepscaler.publish.test_reproduce import card_of, make_record

HOSTILE = (None, True, 1e308, "", "../x", "/etc/x.jsonl", "\x1b[2J", "\ud800", [None], ["../x"], {"a": None})


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Returns the deepscaler.json of a run with a data file and a reward file."""
    root = tmp_path_factory.mktemp("record")
    return read_json(card_of(make_record(root), root / "card"))


def refused(record: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    (tmp_path / FILE).write_text(json.dumps(record))
    assert main(["reproduce", str(tmp_path / FILE), "--dry-run", "--output-dir", str(tmp_path / "again")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"deepscaler: {tmp_path / FILE} ")
    assert error.count("\n") == 1
    return error


def without_model(stage: dict[str, Any]) -> None:
    del stage["model"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_model, "a stage has no model, expected a table with a name"),
        (lambda stage: stage.update(versions=None), "versions is None, expected a table of texts"),
        (lambda stage: stage.update(hardware={"gpus": None}), "hardware is {'gpus': None}, expected"),
        (lambda stage: stage.update(first_steps={"one": {}}), "expected a table of numbers for each step"),
        (lambda stage: stage.update(device="tpu"), "device is 'tpu', expected cuda or cpu"),
        (lambda stage: stage.update(name="../../x"), "the name of stage 1 is '../../x', expected letters"),
        (lambda stage: stage["recipe"].update(name="my/name"), "the name of stage 1 is 'my/name'"),
        (lambda stage: stage["recipe"].update(train_dataset=["/x/y.jsonl"]), "a data set of stage 1 is '/x/y.jsonl'"),
        (lambda stage: stage["recipe"]["reward"].update(function="/x/y.py:score"), "'/x/y.py:score', expected FILE.py"),
        (lambda stage: stage["reward"].update(file="../mine.py"), "the reward's file of stage 1 is '../mine.py'"),
        (lambda stage: stage["reward"].update(function="score; x"), "expected the name of a function"),
        (lambda stage: stage["model"].update(name="../base"), "the model of stage 1 is '../base'"),
        (lambda stage: stage["model"].update(identity="../../x"), "expected a commit or a hash"),
        (lambda stage: stage.update(kit="\x1b[2J"), "with control characters"),
    ],
)
def test_a_damaged_or_hostile_stage_is_refused_by_the_name_of_its_part(
    change: Callable[[Any], None], told: str, record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = json.loads(json.dumps(record))
    change(copy["stages"][0])
    assert told in refused(copy, tmp_path, capsys)


def test_two_stages_of_one_name_are_refused_as_chain_does(
    record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused({**record, "stages": record["stages"] * 2}, tmp_path, capsys)
    assert "the name of stage 2 is '8k', expected another one" in told


def test_a_record_that_is_too_large_or_too_deep_is_refused(
    record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    assert "nested more than 16 deep" in refused({**record, "more": deep}, tmp_path, capsys)
    assert "more than any has" in refused({**record, "more": "x" * MAX_BYTES}, tmp_path, capsys)


def test_a_copy_of_run_json_is_checked_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_record(tmp_path)
    manifest = read_json(run / "run.json")
    for part in ("sets", "data", "versions", "reward", "hardware"):
        write_json(tmp_path / "copy.json", {**manifest, part: None})
        for given in (tmp_path / "copy.json", run):
            write_json(run / "run.json", {**manifest, part: None})
            assert main(["reproduce", str(given), "--dry-run"]) == 2
            assert f"cannot be used: {part} is None, expected a table" in capsys.readouterr().err


def test_any_part_may_hold_anything_and_nothing_but_a_users_error_comes_of_it(
    record: dict[str, Any], tmp_path: Path
) -> None:
    here = Here(
        files={},
        model="",
        data_dir=tmp_path / "data",
        settings=(),
        dry_run=True,
        output_dir=tmp_path / "again",
        programs={},
        machine={"gpus": [], "cpu": "", "cores": 1},
    )
    read_portable(write(record, tmp_path))
    num_refused = num_used = 0
    for place in places(record["stages"][0]):
        for value in HOSTILE:
            copy = json.loads(json.dumps(record))
            put(copy["stages"][0], place, value)
            try:
                recorded = read_recorded(write(copy, tmp_path))
                found = repetition(recorded, recorded.stages[0], here)
                compared_steps(recorded.stages[0], {})
            except UserError:
                num_refused += 1
                continue
            num_used += 1
            if found.reward:
                assert found.reward[0].parent == tmp_path / "again/reproduced"
    assert num_refused > 100
    assert num_used > 100


def write(record: dict[str, Any], folder: Path) -> Path:
    (folder / FILE).write_text(json.dumps(record))
    return folder / FILE


def places(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yields the keys that lead to every value in tables; of the many figures of first steps, those of one step."""
    for key, item in value.items() if isinstance(value, dict) else ():
        if above[:1] != ("first_steps",) or above[1:] in ((), ("1",)):
            yield (*above, key)
            yield from places(item, (*above, key))


def put(value: Any, place: tuple[str, ...], item: Any) -> None:
    for key in place[:-1]:
        value = value[key]
    value[place[-1]] = item
