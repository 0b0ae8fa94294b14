"""What the page is told of folders: each response once, also where files are torn, growing or hostile."""

import base64
import json
import math
from pathlib import Path

import numpy as np
import pytest

from deepscaler.system.errors import UserError
from deepscaler.view.source import VERDICTS, Source
from deepscaler.view.sources import find_sources, read_sources
from tests.deepscaler.runs.runs import add_attempt, learning, make_chain, make_run
from tests.deepscaler.runs.samples import add_data, add_responses
from tests.deepscaler.view.folders import PROBLEMS, REASONS, SAMPLES, finished, make_evaluation, sample, write_lines


def read(*folders: Path) -> list[Source]:
    return read_sources(find_sources(list(folders)))


def verdicts(source: Source) -> list[str]:
    return [VERDICTS[row.verdict] for row in source.rows]


def test_an_evaluation_has_its_samples_with_their_grades_by_problem(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    write_lines(folder.samples_path("aime"), SAMPLES[::-1])  # as they finished
    (source,) = read(tmp_path)
    assert verdicts(source) == ["correct", "wrong", "correct", "no_think_end", "no_box", "timeout"]
    assert [source.details(number)["text"] for number in range(6)] == [one["text"] for one in SAMPLES]
    assert source.details(0) == {
        "text": SAMPLES[0]["text"],
        "numbers": {"prompt tokens": 20, "seed": "0", "seconds": 2.0},
        "answer": "3",
    }
    assert source.notes == []


def test_columns_are_what_the_page_unpacks(tmp_path: Path) -> None:
    finished(tmp_path)
    found = read(tmp_path)[0].to_json()
    lengths = np.frombuffer(base64.b64decode(found["columns"]["length"]), "<i4")
    assert list(lengths) == [one["response_tokens"] for one in SAMPLES]
    assert list(base64.b64decode(found["columns"]["cutOff"])) == [0, 0, 0, 1, 0, 0]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_an_evaluation_at_work_shows_what_there_is_so_far(tmp_path: Path) -> None:
    folder = make_evaluation(tmp_path, PROBLEMS, SAMPLES[:2], {("aime/1", 0): ("correct", "3")})
    shard = tmp_path / "shards" / "0-of-2"
    make_evaluation(shard, PROBLEMS, [*SAMPLES[1:3], sample("aime/9", 0, "unknown problem")])
    with folder.samples_path("aime").open("a") as file:
        file.write('torn in the middle\n{"problem_id": "aime/3", "te')
    (source,) = read(tmp_path)
    assert verdicts(source) == ["correct", "ungraded", "ungraded"]
    assert source.notes == [
        "So far 3 of 6 samples are drawn.",
        f"2 samples have no grade yet; run: deepscaler report {tmp_path}",
        "2 lines could not be read and are left out.",
    ]


@pytest.mark.parametrize("sign", ["not JSON", "[]", "null", "[" * 100_000, '{"problem_id": 3}', '{"sample": 1e999}'])
def test_a_line_that_is_no_sample_is_counted(tmp_path: Path, sign: str) -> None:
    folder = finished(tmp_path)
    with folder.samples_path("aime").open("a") as file:
        file.write(f"{sign}\n")
    (source,) = read(tmp_path)
    assert len(source.rows) == 6
    assert source.notes == ["1 lines could not be read and are left out."]


def test_numbers_beyond_a_column_stay_in_the_page(tmp_path: Path) -> None:
    make_evaluation(tmp_path, PROBLEMS, [sample("aime/1", 2**62, "x", response_tokens=2**62)])
    (source,) = read(tmp_path)
    assert np.frombuffer(base64.b64decode(source.to_json()["columns"]["sample"]), "<i4")[0] == 2**31 - 1


def test_imported_samples_without_lengths_have_unknown_ones_and_no_budget(tmp_path: Path) -> None:
    samples = [{**one, "response_tokens": 0} for one in SAMPLES]
    told = {"format": "lm-eval", "file": "samples.jsonl", "sha256": "00"}
    make_evaluation(tmp_path, PROBLEMS, samples, REASONS, engine="imported", imported=told, temperature=None)
    (source,) = read(tmp_path)
    assert {row.length for row in source.rows} == {-1}
    assert source.more["budget"] is None
    assert source.facts["temperature"] == "unknown"
    assert source.notes == ["Imported from samples.jsonl of lm-eval."]


def test_accuracy_at_a_budget_counts_correct_responses_no_longer_than_it(tmp_path: Path) -> None:
    finished(tmp_path)
    budget = read(tmp_path)[0].more["budget"]
    table = dict(zip(budget["marks"], budget["tables"][0], strict=True))
    accuracy = {mark: row[0] for mark, row in table.items()}
    assert (accuracy[1024], accuracy[8192], accuracy[16_384]) == (16.67, 16.67, 33.33)  # 9,000 tokens were correct
    assert accuracy[32_768] == budget["curves"][0][-1] == 33.33
    assert table[1024][3] == 33.33  # two of six are longer
    assert table[32_768][3] == 16.67  # the one that was cut off
    assert table[1024][1] < 16.67 < table[1024][2]


def test_a_training_has_groups_rewards_and_one_problem_over_steps(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(4))
    add_data(run, aime=[2, 3])
    add_responses(run, "validation", 0, {2: [1], 3: [0]})
    add_responses(run, "rollouts", 1, {2: [1, 0], 3: [0, 0]})
    add_responses(run, "rollouts", 2, {2: [1, 1], 4: [0, 1]})
    (source,) = read(tmp_path)
    assert [one["name"] for one in source.sets] == ["8k, step 1", "8k, step 2", "8k, validation at step 0"]
    assert [one["id"] for one in source.problems] == ["aime/2", "aime/3", "prompt 3"]
    assert source.problems[0]["text"] == "What is 2?"
    assert verdicts(source)[:4] == ["correct", "wrong", "wrong", "wrong"]
    assert len([row for row in source.rows if row.problem == 0]) == 5
    table = source.more["steps"]
    cells = [dict(zip(table["names"], row, strict=True)) for row in table["rows"]]
    assert (cells[0]["groups"], cells[0]["mean reward"], cells[0]["one reward %"]) == (2, 0.25, 50)
    assert cells[1]["one reward %"] == 50
    assert cells[0]["mean tokens"] == pytest.approx(learning(4)[1][1]["response_length/mean"], abs=1e-3)
    assert cells[2]["correct %"] == 50
    assert table["intervals"][0] is None
    low, high = table["intervals"][2]
    assert low < 50 < high
    assert "So far 8k is at step 4 of 8." in source.notes


def test_where_the_reward_has_parts_a_rollout_has_no_verdict(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    manifest = run.read_manifest()
    manifest["recipe"]["reward"]["parts"] = {"grader": 1.0, "overlong": 1.0}
    run.manifest_path.write_text(json.dumps(manifest))
    add_attempt(run, [(1, {"critic/score/mean": 0.4, "reward/overlong/mean": -0.1})])
    add_responses(run, "rollouts", 1, {2: [0.5, -0.5]}, overlong=-0.5)
    (source,) = read(tmp_path)
    assert verdicts(source) == ["ungraded", "ungraded"]
    assert source.details(0)["numbers"] == {"overlong": -0.5}
    table = source.more["steps"]
    assert table["rows"][0][table["names"].index("overlong part")] == -0.1


def test_a_chain_is_one_axis_and_brings_its_evaluations(tmp_path: Path) -> None:
    make_chain(tmp_path)
    run = make_run(tmp_path / "2-16k", name="16k")
    add_responses(run, "rollouts", 3, {2: [1, 0]})
    finished(tmp_path / "1-8k" / "evaluation", model=str(tmp_path / "1-8k" / "model"))
    training, evaluation = read(tmp_path)
    assert [(one["stage"], one["step"]) for one in training.sets] == [("16k", 11)]
    assert evaluation.name == "1-8k"
    assert "24k has not begun." in training.notes


def test_broken_rollouts_are_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(1))
    path = add_responses(run, "rollouts", 1, {2: [1]})
    path.write_text('{"input": 3, "output": 4}\n[]\n{"input": "a", "output": "b", "gts": {}, "score": "x"}\n{"torn')
    (source,) = read(tmp_path)
    assert len(source.rows) == 1
    assert math.isnan(source.rows[0].reward)
    assert "2 lines could not be read and are left out." in source.notes


def test_a_folder_that_is_not_the_kits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a folder of `deepscaler evaluate`"):
        read(tmp_path)


def test_folders_of_one_model_are_told_apart(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    finished(tmp_path / "b")
    names = [source.name for source in read(tmp_path / "a", tmp_path / "b")]
    assert names == [f"some-model ({tmp_path.name}/a)", f"some-model ({tmp_path.name}/b)"]
