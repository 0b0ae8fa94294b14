"""Compares the step-time model with the cost of two published trainings: `python bench/published_hours.py`.

DeepScaleR   8K on 8 A100, 16K and 24K on 32: 3,800 A100-hours (its blog)
AReaL        1,000 updates on 16 machines of 8 H800: 41.0 h synchronous, 14.8 h asynchronous (its blog, v0.3)

No GPU is needed. The lengths of responses are assumptions, so each row covers 0.75, 1 and 1.25 times their mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deepscaler.recipes.cards import Software
from deepscaler.recipes.load import in_profile
from deepscaler.recipes.model_shape import shape_of
from deepscaler.recipes.published import RECIPES
from deepscaler.recipes.recipe import Recipe
from deepscaler.recipes.response_lengths import DEEPSCALER, Lengths
from deepscaler.recipes.step_time import MEASURED, StepTime, gpu_hours, step_time

FACTORS = (0.75, 1.0, 1.25)


@dataclass(frozen=True, kw_only=True)
class Published:
    """Describes a training and its published cost."""

    name: str
    stages: Sequence[tuple[Recipe, Lengths]]
    gpu: str
    fabric: str
    gpu_hours: float

    def stage_times(self, factor: float = 1.0, software: Software = MEASURED) -> list[StepTime]:
        """Returns the step time of each stage, with responses of `factor` times the mean length."""
        return [
            step_time(recipe, shape_of(recipe.model), self.gpu, self.fabric, lengths.scaled(factor), software=software)
            for recipe, lengths in self.stages
        ]

    def hours(self, factor: float = 1.0, software: Software = MEASURED) -> list[float]:
        """Returns the GPU-hours of each stage."""
        times = self.stage_times(factor, software)
        return [gpu_hours(recipe, one, software) for (recipe, _), one in zip(self.stages, times, strict=True)]

    def slower_decoding(self) -> float:
        """Returns the extra seconds per decoding step that would alone explain the published cost."""
        missing = self.gpu_hours - sum(self.hours())
        # 1 ms shows the slope, because the hours are linear in it if generation and passes take turns
        more = replace(MEASURED, decode=MEASURED.decode + 1e-3)
        return 1e-3 * missing / (sum(self.hours(software=more)) - sum(self.hours()))


AREAL = replace(
    RECIPES["8k"],
    name="areal-sync",
    num_nodes=16,
    train_batch_size=512,  # from memory of arXiv 2505.24298 (table 1, appendix), as the lines below; unverified
    group_size=16,
    mini_batch_size=128,  # 4 updates a step: 1,000 updates are 250 steps
    num_steps=250,
    max_response_length=27_648,
    kl_coefficient=0.0,
    save_every=50,
    validate_every=50,
)
AREAL_LENGTHS = Lengths(mean=8500, cut_off=0.06, limit=27_648)
"""Lengths assumed for AReaL, because no available source gives them."""

AREAL_ASYNC = replace(in_profile(AREAL, "fast"), name="areal-async", batches_ahead=4)
"""AReaL's asynchronous recipe. It bounds staleness by 4 for math (from memory), and dedicates 3 of 4 GPUs to
generation, whereas here all GPUs do both."""

PUBLISHED = (
    Published(
        name="DeepScaleR",
        stages=[(RECIPES[name], DEEPSCALER[name]) for name in ("8k", "16k", "24k")],
        gpu="A100-80GB",
        fabric="ib",  # not published; with "none" the figures are the same to 1 %
        gpu_hours=3800,
    ),
    Published(
        name="AReaL, synchronous", stages=[(AREAL, AREAL_LENGTHS)], gpu="H800-80GB", fabric="roce", gpu_hours=5250
    ),
    Published(
        name="AReaL, asynchronous",
        stages=[(AREAL_ASYNC, AREAL_LENGTHS)],
        gpu="H800-80GB",
        fabric="roce",
        gpu_hours=1890,
    ),
)


def main() -> None:
    """Prints both tables."""
    for training in PUBLISHED:
        for number, ((recipe, _), one) in enumerate(zip(training.stages, training.stage_times(), strict=True)):
            low, middle, high = (training.hours(factor)[number] for factor in FACTORS)
            shares = ", ".join(f"{name} {share:.0%}" for name, share in one.shares().items() if share >= 0.005)
            print(
                f"{recipe.name}, {one.num_gpus} x {training.gpu}: a step {one.seconds:.0f} s,"
                f" {one.tokens_per_gpu_second:,.0f} tokens/s/GPU; {middle:,.0f} GPU-hours ({low:,.0f} to {high:,.0f});"
                f" {shares}{' (overlapped)' * one.overlapped}"
            )
        low, middle, high = (sum(training.hours(factor)) for factor in FACTORS)
        line = (
            f"{training.name}: {middle:,.0f} GPU-hours ({low:,.0f} to {high:,.0f}), published {training.gpu_hours:,.0f}"
        )
        print(f"{line}, {training.gpu_hours / middle:.1f} times as many")
        if not any(recipe.asynchronous_rollout for recipe, _ in training.stages):
            print(f"    as if each decoding step took {1e3 * training.slower_decoding():.0f} ms more")
    for name in ("8k", "16k", "24k"):
        for num_nodes in (1, 4):
            for profile in ("faithful", "fast"):
                recipe = replace(in_profile(RECIPES[name], profile), num_nodes=num_nodes)
                one = step_time(recipe, shape_of(recipe.model), "A100-80GB", "ib", DEEPSCALER[name])
                print(
                    f"{name}, {one.num_gpus} x A100-80GB, {profile}: generate {one.generate:.0f}, passes"
                    f" {one.training:.0f}, step {one.seconds:.0f} s, {gpu_hours(recipe, one):,.0f} GPU-hours"
                )


if __name__ == "__main__":
    main()
