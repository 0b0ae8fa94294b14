"""The model of a step gives back what was measured on one GPU, and says how far it is from published trainings."""

import random
import runpy
from dataclasses import replace

import pytest

from deepscaler.recipes.cards import CARDS, FABRICS, Software
from deepscaler.recipes.generation import Engines
from deepscaler.recipes.load import in_profile, recipe_named
from deepscaler.recipes.model_shape import shape_of
from deepscaler.recipes.packing import packed
from deepscaler.recipes.published import NAMES, RECIPES
from deepscaler.recipes.recipe import Recipe
from deepscaler.recipes.response_lengths import DEEPSCALER, Lengths
from deepscaler.recipes.step_time import StepTime, gpu_hours, step_time
from deepscaler.recipes.throughput import MEASURED_ON, WHOLE
from deepscaler.system.errors import UserError
from tests.places import ROOT

SHAPE = shape_of(RECIPES["8k"].model)
STAGES = ("8k", "16k", "24k")


def on_a100s(recipe: Recipe, fabric: str = "ib", factor: float = 1.0, gpu: str = "A100-80GB") -> StepTime:
    return step_time(recipe, SHAPE, gpu, fabric, DEEPSCALER[recipe.name].scaled(factor))


def test_the_phases_measured_on_an_h200_come_out() -> None:
    step = step_time(MEASURED_ON, SHAPE, "H200-141GB", "none", WHOLE)
    measured = {"generate": 14.1, "old_log_probabilities": 2.9, "reference": 3.1, "update": 9.9, "seconds": 30.6}
    for phase, seconds in measured.items():
        assert getattr(step, phase) == pytest.approx(seconds, rel=0.06), phase
    assert step.communication == 0
    fast = replace(in_profile(MEASURED_ON, "fast"), checkpoint_activations=False)
    overlapped = step_time(fast, SHAPE, "H200-141GB", "none", WHOLE)
    assert overlapped.update == pytest.approx(8.8, rel=0.1)
    assert overlapped.seconds == pytest.approx(15.5, rel=0.06)


def test_an_h100_that_nothing_was_fitted_to_was_slower_by_a_known_factor() -> None:
    step = step_time(MEASURED_ON, SHAPE, "H100-80GB", "none", WHOLE)
    responses = 64 * 4096
    assert responses / 13_900 / step.generate == pytest.approx(1.13, abs=0.01)  # tokens/s that verl's rollout drew
    assert responses / 22_800 / step.update == pytest.approx(1.13, abs=0.01)  # and that its engine trained on
    alone = step.old_log_probabilities - Software().one_pass
    assert step.tokens / 77_700 / alone == pytest.approx(1.34, abs=0.01)  # and scored


def test_more_tokens_a_slower_network_or_an_older_card_never_help() -> None:
    for name in STAGES:
        recipe = replace(RECIPES[name], num_nodes=4)
        by_length = [on_a100s(recipe, factor=factor).seconds for factor in (0.5, 0.75, 1.0, 1.25)]
        assert by_length == sorted(by_length)
        assert len(set(by_length)) == 4
        by_fabric = [on_a100s(recipe, fabric).seconds for fabric in sorted(FABRICS, key=FABRICS.__getitem__)]
        assert by_fabric == sorted(by_fabric, reverse=True)
        by_card = [on_a100s(recipe, gpu=gpu).seconds for gpu in ("H200-141GB", "H100-80GB", "A100-80GB")]
        assert by_card == sorted(by_card)


def test_small_micro_batches_do_not_hide_a_slow_network() -> None:
    small = replace(RECIPES["8k"], num_nodes=4, max_tokens_per_gpu=9216)
    slow, fast = (on_a100s(small, fabric, gpu="H100-80GB") for fabric in ("none", "ib"))
    assert slow.communication > 5
    assert fast.communication == 0
    # on one machine the network does not matter
    assert on_a100s(replace(small, num_nodes=1), "none") == on_a100s(replace(small, num_nodes=1), "ib")


def test_four_times_the_gpus_are_less_than_four_times_as_fast() -> None:
    for name in STAGES:
        one, four = (on_a100s(replace(RECIPES[name], num_nodes=nodes)) for nodes in (1, 4))
        assert 2 < one.seconds / four.seconds < 4
        # the longest response does not get shorter, the passes do
        assert 1.5 < one.generate / four.generate < 3
        assert 3 < one.update / four.update < 4


def test_every_published_recipe_has_a_time() -> None:
    for name in NAMES:
        recipe = recipe_named(name)
        limit = recipe.max_response_length
        try:
            shape = shape_of(recipe.model)
        except UserError:
            shape = SHAPE  # DAPO's 32B
        step = step_time(recipe, shape, "H200-141GB", "ib", Lengths(mean=limit / 2, cut_off=0.1, limit=limit))
        assert 0 < step.generate < step.seconds
        assert sum(step.shares().values()) == pytest.approx(1)


def test_asynchronous_steps_are_no_slower() -> None:
    for name in STAGES:
        fast = in_profile(RECIPES[name], "fast")
        seconds = [on_a100s(one).seconds for one in (RECIPES[name], fast, replace(fast, batches_ahead=4))]
        assert seconds == sorted(seconds, reverse=True)


def test_passes_that_a_recipe_leaves_out_take_no_time() -> None:
    bare = on_a100s(replace(RECIPES["8k"], kl_coefficient=0.0, recompute_log_probs=False))
    assert (bare.old_log_probabilities, bare.reference) == (0, 0)
    adapter = replace(in_profile(RECIPES["8k"], "fast"), lora_rank=32)
    assert on_a100s(adapter).update < bare.update
    twice = on_a100s(replace(RECIPES["8k"], num_epochs_per_batch=2))
    assert twice.update == pytest.approx(2 * bare.update, rel=0.01)


def test_what_does_not_fit_is_refused_or_said() -> None:
    large = replace(RECIPES["24k"], model="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", gpu_memory_utilization=0.3)
    with pytest.raises(UserError, match=r"recipe 24k on A100-40GB: .* raise gpu_memory_utilization"):
        step_time(large, shape_of(large.model), "A100-40GB", "ib", DEEPSCALER["24k"])
    (warning,) = on_a100s(replace(RECIPES["8k"], fused_kernels="none"), gpu="A100-40GB").warnings
    assert "max_tokens_per_gpu" in warning
    dapo = replace(in_profile(RECIPES["8k"], "fast"), filter_groups=True)
    assert "not counted" in on_a100s(dapo).warnings[-1]


def test_unknown_cards_and_networks_list_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown GPU 'A100'.*H800-80GB"):
        on_a100s(RECIPES["8k"], gpu="A100")
    with pytest.raises(UserError, match=r"unknown fabric 'tcp'.*efa"):
        on_a100s(RECIPES["8k"], "tcp")


@pytest.mark.parametrize("lengths", DEEPSCALER.values(), ids=DEEPSCALER)
def test_lengths_have_the_mean_and_the_share_cut_off_that_they_were_given(lengths: Lengths) -> None:
    sample = lengths.sample(20_000)
    assert sum(sample) / len(sample) == pytest.approx(lengths.mean, rel=1e-3)
    assert sum(length == lengths.limit for length in sample) / len(sample) == pytest.approx(lengths.cut_off, abs=1e-3)
    assert lengths.longer_than(lengths.at(0.3)) == pytest.approx(0.7)
    assert lengths.at(0.99, 10**6) > lengths.limit == lengths.longest(1000)


def test_lengths_that_no_distribution_has_are_refused() -> None:
    for mean, cut_off in ((9000, 0.1), (500, 0.1), (4000, 0.0), (4000, 1.0)):
        with pytest.raises(UserError, match="give a share above 0"):
            Lengths(mean=mean, cut_off=cut_off, limit=8192)


@pytest.mark.parametrize("responses", [64, 200, 900])
def test_generation_agrees_with_a_simulation_of_every_token(responses: int) -> None:
    engines = Engines(
        shape=SHAPE,
        card=CARDS["A100-80GB"],
        software=Software(),
        number=1,
        tensor_parallel=1,
        cached_tokens=2_000_000,
    )
    lengths = DEEPSCALER["8k"]
    waiting = [round(length) for length in lengths.sample(responses)]
    random.Random(1).shuffle(waiting)
    running: list[tuple[int, int]] = []  # tokens drawn, tokens in all
    seconds = 0.0
    while waiting or running:
        while waiting and len(running) < engines.software.most_sequences:
            running.append((0, waiting.pop()))
        drawn = sum(one for one, _ in running)
        # as many tokens as the shortest lacks, 64 at most, with the contexts of the middle
        ahead = min(64, *(whole - one for one, whole in running))
        seconds += ahead * engines.step(len(running), lengths.prompt + drawn / len(running) + ahead / 2)
        running = [(one + ahead, whole) for one, whole in running if one + ahead < whole]
    assert engines.seconds(lengths, responses, 8192) == pytest.approx(seconds, rel=0.05)


def test_packing_balances_and_keeps_the_budget() -> None:
    assert packed([8192, 4096, 4096], 1, 8192, float) == [8192, 8192]
    assert packed([5, 5, 5], 1, 9, float) == [5, 5, 5]  # three, because no two fit together
    lengths = [150 + length for length in DEEPSCALER["8k"].sample(512)]
    work = packed(lengths, 8, 32_768, SHAPE.forward_flops)
    least = sum(map(SHAPE.forward_flops, lengths)) / 8
    assert least < sum(work) < 1.1 * least
    tokens = packed(lengths, 8, 32_768, float)
    assert max(tokens) <= 32_768


def test_published_costs_are_a_known_factor_above_the_model_and_the_document_says_so() -> None:
    trainings = runpy.run_path(str(ROOT / "bench" / "published_hours.py"))["PUBLISHED"]
    text = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
    found = {}
    for training in trainings:
        low, middle, high = (sum(training.hours(factor)) for factor in (0.75, 1.0, 1.25))
        found[training.name] = training.gpu_hours / middle
        assert f"| {middle:,.0f} ({low:,.0f} to {high:,.0f}) | {training.gpu_hours:,} |" in text
        assert [one.warnings for one in training.stage_times()] == [()] * len(training.stages)
    assert 2.3 < found["DeepScaleR"] < 3.3
    assert 3.5 < found["AReaL, synchronous"] < 4.6
    assert 2.6 < found["AReaL, asynchronous"] < 3.8
    deepscaler = trainings[0]
    assert sum(deepscaler.hours(software=Software(decode=1e-3 + deepscaler.slower_decoding()))) == pytest.approx(3800)


def test_the_document_gives_the_stages_on_8_and_32_gpus() -> None:
    text = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
    for name in STAGES:
        cells = []
        for nodes in (1, 4):
            recipe = replace(RECIPES[name], num_nodes=nodes)
            step = on_a100s(recipe)
            cells.append(f"{step.seconds:.0f} s, {gpu_hours(recipe, step):,.0f}")
        assert f"| `{name}` | {' | '.join(cells)} |" in text
