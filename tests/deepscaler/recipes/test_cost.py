"""Estimates of a recipe's cost have a spread that rests on measurements, and hold what published trainings took."""

import runpy
from dataclasses import replace

import pytest

from deepscaler.recipes.cards import CARDS, card_of
from deepscaler.recipes.cost import EVALUATION_SAMPLES, StageCost, stage_cost
from deepscaler.recipes.published import RECIPES
from deepscaler.recipes.response_lengths import DEEPSCALER, assumed_lengths
from deepscaler.recipes.throughput import Spread, card_name, slowness, sum_of
from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json
from tests.places import ROOT

STAGES = ("8k", "16k", "24k")


def of_deepscaler(gpu: str = "A100-80GB", mean: float | None = None) -> list[StageCost]:
    return [stage_cost(RECIPES[name], gpu, "ib", mean_response=mean) for name in STAGES]


def test_deepscalers_published_hours_lie_in_the_spread_and_the_document_says_how_near() -> None:
    total = sum_of([one.gpu_hours for one in of_deepscaler()])
    assert total.low < 3800 < total.high
    times = 3800 / total.middle
    assert 1.2 < times < 1.8
    text = (ROOT / "docs" / "publish.md").read_text(encoding="utf-8")
    assert f"{total.middle:,.0f} A100-hours ({total.low:,.0f} to {total.high:,.0f})" in text
    assert f"{times:.1f} times" in text


def test_the_table_of_published_trainings_is_what_the_model_makes_of_them() -> None:
    trainings = runpy.run_path(str(ROOT / "bench" / "published_hours.py"))["PUBLISHED"]
    rows = read_json(ROOT / "deepscaler" / "recipes" / "throughput.json")["published"]
    assert [(row["name"], row["gpu"], row["gpu_hours"]) for row in rows] == [
        (one.name, one.gpu, one.gpu_hours) for one in trainings
    ]
    for row, one in zip(rows, trainings, strict=True):
        assert row["times_the_model"] == round(one.gpu_hours / sum(one.hours()), 1)


def test_measured_cards_are_narrower_than_derived_ones_and_one_gpu_than_several() -> None:
    def width(spread: Spread) -> float:
        return spread.high / spread.low

    h200, h100, a100 = (slowness(name, 1) for name in ("H200-141GB", "H100-80GB", "A100-80GB"))
    assert width(h200.times) < 1.1
    assert 1.1 < h100.times.low < h100.times.middle < h100.times.high < 1.35
    assert width(a100.times) > 2
    assert "not measured, derived from H100-80GB and H200-141GB" in a100.told
    for gpu in CARDS:
        several = slowness(gpu, 8)
        assert "several GPUs were not measured" in several.told
        assert several.times.high == 4.0
        assert several.times.low < several.times.middle < several.times.high


def test_short_names_of_cards_and_the_drivers_names_are_understood() -> None:
    assert [card_name(name) for name in ("a100-80", "A100-40GB", "h100", "H200", "h800-80gb")] == [
        *("A100-80GB", "A100-40GB", "H100-80GB", "H200-141GB", "H800-80GB"),
    ]
    for given, told in (("a100", "A100-40GB, A100-80GB"), ("b200", "h200-141"), ("", "H100-80GB")):
        with pytest.raises(UserError, match=rf"unknown GPU '{given}'.*{told}"):
            card_name(given)
    names = ("NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM4-40GB", "NVIDIA H100 80GB HBM3", "NVIDIA H200", "Tesla T4", "")
    assert [card_of(name) for name in names] == ["A100-80GB", "A100-40GB", "H100-80GB", "H200-141GB", None, None]


def test_a_card_is_known_by_whole_words_and_by_its_memory() -> None:
    seen = {
        ("NVIDIA H200", 143_771): "H200-141GB",
        ("NVIDIA H100 80GB HBM3", 81_559): "H100-80GB",
        ("NVIDIA A100-PCIE-40GB", 40_960): "A100-40GB",
        ("A100", 81_920): "A100-80GB",  # no size in its name
        ("NVIDIA GH200 144G HBM3e", 146_831): None,  # its name holds H200's, and its memory is nearly that
        ("NVIDIA GH200 480GB", 97_871): None,
        ("NVIDIA H100 NVL", 95_830): None,
        ("NVIDIA A100-SXM4-80GB", 9_728): None,  # a part of one
    }
    assert {(name, size): card_of(name, size << 20) for name, size in seen} == seen
    assert card_of("NVIDIA GH200 144G HBM3e") is None


def test_lengths_are_assumed_by_the_limit_and_a_given_mean_has_no_spread() -> None:
    for lengths in DEEPSCALER.values():
        assert assumed_lengths(lengths.limit)[0] == replace(lengths)
    means = [assumed_lengths(limit)[0].mean for limit in (32, 2048, 8192, 12_288, 16_384, 20_000, 24_576, 65_536)]
    assert means == sorted(means)
    assert means[0] == pytest.approx(32 * 4250 / 8192)
    assumed, given = (stage_cost(RECIPES["8k"], "H200-141GB", "ib", mean_response=mean) for mean in (None, 4250))
    assert assumed.mean_response == Spread(0.75 * 4250, 4250, 1.25 * 4250)
    assert given.mean_response == Spread(4250, 4250, 4250)
    assert given.step_seconds.middle == assumed.step_seconds.middle
    assert given.step_seconds.low > assumed.step_seconds.low
    assert any("as given" in one for one in given.told)
    with pytest.raises(UserError, match=r"--mean-response 9000 must be above 0 and below max_response_length 8,192"):
        stage_cost(RECIPES["8k"], "H200-141GB", "ib", mean_response=9000)


def test_every_mean_below_the_limit_has_a_cost_and_longer_ones_cost_more() -> None:
    hours = [of_deepscaler(mean=mean)[0].gpu_hours.middle for mean in (1, 50, 1000, 4000, 8000, 8190)]
    assert hours == sorted(hours)


def test_hours_are_steps_and_a_start_and_the_evaluation_after_them() -> None:
    bare = stage_cost(RECIPES["16k"], "A100-80GB", "ib")
    start = bare.start_seconds / 3600
    assert bare.hours.middle == pytest.approx(480 * bare.step_seconds.middle / 3600 + start)
    assert bare.gpu_hours.high == pytest.approx(32 * bare.hours.high)
    judged = stage_cost(RECIPES["16k"], "A100-80GB", "ib", evaluates=("aime", "math"))
    assert judged.evaluation_hours.low > 0
    assert judged.hours.low == pytest.approx(bare.hours.low + judged.evaluation_hours.low)
    # one engine on one GPU, and never faster than its tokens: 530 problems, 16 responses of 4,500 tokens
    tokens = 530 * EVALUATION_SAMPLES * 4500
    assert 2000 < tokens / (judged.evaluation_hours.middle * 3600) < 30_000
    with pytest.raises(UserError, match=r"the size of mine\.jsonl is not known"):
        stage_cost(RECIPES["16k"], "A100-80GB", "ib", evaluates=("mine.jsonl",))


def test_disk_counts_checkpoints_rollouts_and_the_model() -> None:
    recipe = RECIPES["8k"]
    cost = stage_cost(recipe, "A100-80GB", "ib")
    parameters = 1_777_088_000
    checkpoints = 3 * 12 * parameters
    rollouts = 1040 * 1024 * 4400 * 4
    assert cost.disk_bytes.middle == pytest.approx(checkpoints + 2 * parameters + rollouts, rel=0.02)
    more = stage_cost(replace(recipe, keep=5), "A100-80GB", "ib")
    assert more.disk_bytes.middle - cost.disk_bytes.middle == pytest.approx(checkpoints, rel=0.001)


def test_a_model_of_unknown_shape_is_refused_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"recipe 8k: the shape of a/b is not known.*--set model=FOLDER"):
        stage_cost(replace(RECIPES["8k"], model="a/b"), "A100-80GB", "ib")
