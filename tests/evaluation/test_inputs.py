"""An evaluation of a file keeps its own copy, under the file's name, and refuses another file later."""

import json
from pathlib import Path

import pytest

from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig, with_absolute_paths
from evaluation.inputs import all_problems, keep_datasets, planned_ids
from evaluation.stored import check_stored


def sums(folder: Path, name: str, count: int) -> str:
    rows = [{"question": f"What is {number} + {count}?", "final": number + count} for number in range(count)]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def config(folder: Path, *datasets: str, **options: object) -> EvaluationConfig:
    return EvaluationConfig(model="m/m", datasets=datasets, output_dir=folder / "out", **options)  # type: ignore[arg-type]


def test_a_file_goes_by_its_own_name_in_the_folder_and_keeps_its_ending_beside_a_set_of_the_kit(tmp_path: Path) -> None:
    held_out, aime = sums(tmp_path, "held out.jsonl", 2), sums(tmp_path, "aime.jsonl", 2)
    chosen = config(tmp_path, "aime", held_out, aime)
    assert chosen.result_fields()["datasets"] == ["aime", "held-out", "aime-jsonl"]
    assert [problem.id.split("/")[0] for problem in all_problems(held_out, chosen)] == ["held-out"] * 2


def test_a_file_that_has_changed_since_is_refused_and_one_that_is_gone_is_not_missed(tmp_path: Path) -> None:
    mine = sums(tmp_path, "mine.jsonl", 3)
    first = all_problems(mine, config(tmp_path, mine))
    assert [problem.golds for problem in first] == [("3",), ("4",), ("5",)]
    sums(tmp_path, "mine.jsonl", 4)
    with pytest.raises(UserError, match="has changed since this evaluation began: put it back, or give another"):
        all_problems(mine, config(tmp_path, mine))
    Path(mine).unlink()
    assert all_problems(mine, config(tmp_path, mine)) == first


def test_a_shard_reads_what_its_evaluation_keeps(tmp_path: Path) -> None:
    mine = sums(tmp_path, "mine.jsonl", 3)
    whole = config(tmp_path, mine)
    keep_datasets(whole.datasets, whole.output_dir, None)
    Path(mine).unlink()
    part = EvaluationConfig(model="m/m", datasets=(mine,), output_dir=tmp_path / "out/shards/mine-0-of-2", shard="0/2")
    assert len(all_problems(mine, part)) == 3
    assert not part.output_dir.exists()


def test_a_plan_knows_the_problems_of_a_file_and_writes_nothing(tmp_path: Path) -> None:
    mine = sums(tmp_path, "mine.jsonl", 3)
    ids, is_here = planned_ids(mine, config(tmp_path, mine, limit=2))
    assert (len(ids), is_here) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.jsonl"]
    assert planned_ids("hub:org/none", config(tmp_path, "hub:org/none")) == ([], False)


def test_a_relative_file_means_the_same_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sums(tmp_path, "mine.jsonl", 3)
    monkeypatch.chdir(tmp_path)
    assert with_absolute_paths(config(tmp_path, "mine.jsonl")).datasets == (str(tmp_path / "mine.jsonl"),)


def test_a_folder_is_read_where_nobody_knows_its_sets(tmp_path: Path) -> None:
    stored = {**config(tmp_path, sums(tmp_path, "mine.jsonl", 1)).result_fields(), "weights": "w", "thinking": "no"}
    assert check_stored(stored, tmp_path / "config.json")["datasets"] == ["mine"]


@pytest.mark.parametrize(
    ("datasets", "says"),
    [
        (("amie",), "did you mean 'aime'"),
        (("hub:x",), "expected hub:ORG/NAME@REVISION:SPLIT"),
        (("a/x.jsonl", "b/x.jsonl"), "are both called 'x'"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(tmp_path: Path, datasets: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        config(tmp_path, *datasets)
