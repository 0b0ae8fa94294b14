"""The gate of a chain: what it stops, what it leaves in doubt, and what it says of both."""

import re
from pathlib import Path

import pytest

from deepscaler.output.cells import Interval
from deepscaler.system.errors import UserError
from evaluation.compare.gate import judge
from tests.deepscaler.runs.runs import write_evaluation
from tests.evaluation.compare.folders import write_folder


def scores(folder: Path, num_samples: int = 16, **values: float) -> Path:
    shown = {name: Interval(value, value, value) for name, value in values.items()}
    write_evaluation(folder, num_samples=num_samples, **shown)
    return folder


def test_a_drop_that_is_shown_is_worse(tmp_path: Path) -> None:
    before = scores(tmp_path / "before", aime=0.5, amc=0.6)
    judgement, told = judge(before, scores(tmp_path / "worse", aime=0.5, amc=0.4))
    assert judgement == "worse"
    assert re.search(r"amc 60\.0 -> 40\.0 \(-20\.0 points, p of a drop <0\.0001; a drop of \d\.\d would show", told)
    assert "aime 50.0 -> 50.0 (+0.0 points" in told
    assert "mean of all 55.0 -> 45.0" in told


def test_a_rise_is_not_worse_and_what_is_alike_is_in_doubt_until_there_are_samples(tmp_path: Path) -> None:
    before = scores(tmp_path / "before", aime=0.5)
    assert judge(before, scores(tmp_path / "better", aime=0.6))[0] == "not worse"
    judgement, told = judge(before, scores(tmp_path / "alike", aime=0.5))
    assert judgement == "in doubt"
    assert re.search(r"; a drop of 5\.\d points is not ruled out$", told)
    many = [scores(tmp_path / f"{score}", num_samples=400, aime=score) for score in (0.5, 0.501)]
    assert judge(*many)[0] == "not worse"


def test_one_benchmark_of_several_is_held_to_a_stricter_level(tmp_path: Path) -> None:
    before = scores(tmp_path / "before", aime=0.5)
    assert judge(before, scores(tmp_path / "alone", aime=0.44))[0] == "worse"
    before = scores(tmp_path / "of three", aime=0.5, amc=0.5, math=0.5)
    assert judge(before, scores(tmp_path / "after", aime=0.44, amc=0.5, math=0.5))[0] == "in doubt"


def test_what_cannot_be_compared_is_in_doubt(tmp_path: Path) -> None:
    before = scores(tmp_path / "before", aime=0.5)
    judgement, told = judge(before, scores(tmp_path / "other", amc=0.5))
    assert (judgement, told) == ("in doubt", "the evaluations have no problem in common")
    one, other = (write_folder(tmp_path / f"{t}", {0: 1}, temperature=t).root for t in (0.6, 0.8))
    assert judge(one, other) == ("in doubt", "different protocols, not compared: temperature: 0.6 -> 0.8")
    with pytest.raises(UserError, match="holds no scored evaluation"):
        judge(before, tmp_path / "nothing")


def test_folders_of_real_evaluations_are_judged_by_their_problems(tmp_path: Path) -> None:
    before = write_folder(tmp_path / "before", dict.fromkeys(range(6), 4)).root
    after = write_folder(tmp_path / "after", dict.fromkeys(range(6), 1)).root
    assert judge(before, after)[0] == "worse"
    assert judge(after, before)[0] == "not worse"
