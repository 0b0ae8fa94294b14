"""Computes what a recipe will cost, with its spread: seconds of a step, GPU-hours, days and disk.

stage_cost(RECIPES["8k"], "A100-80GB", "ib").gpu_hours    Spread(low=230, middle=711, high=1872)
"""

from dataclasses import dataclass

from deepscaler.data.sources import SOURCES
from deepscaler.recipes.cards import Software, card_named
from deepscaler.recipes.disk import BYTES_PER_TOKEN, checkpoint_bytes, checkpoints_at_once
from deepscaler.recipes.generation import Engines
from deepscaler.recipes.memory import MARGIN
from deepscaler.recipes.model_shape import ModelShape, shape_of
from deepscaler.recipes.recipe import Recipe
from deepscaler.recipes.response_lengths import Lengths, assumed_lengths
from deepscaler.recipes.step_time import step_time
from deepscaler.recipes.throughput import Spread, slowness
from deepscaler.system.errors import UserError

LENGTH_SPREAD = (0.75, 1.25)
"""Least and largest mean response, as multiples of the assumed one."""

EVALUATION_SAMPLES, EVALUATION_TOKENS = 16, 32_768
"""Responses to a problem, and tokens of the longest: `deepscaler evaluate` by DeepScaleR's protocol."""

UNKNOWN_VALIDATION = 30
"""Assumed problems of a validation set that was not read yet: as many as AIME 2024 has."""

BYTES_MERGED = 2
"""A weight in bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """Cost of one stage on its GPUs; money is GPU-hours by a price."""

    name: str
    gpu: str
    num_nodes: int
    gpus_per_node: int
    num_steps: int
    mean_response: Spread
    """Tokens, over all steps of the stage."""
    cut_off: float
    step_seconds: Spread
    """Seconds of a mean step, with its share of saves and validations."""
    start_seconds: float
    evaluation_hours: Spread
    """Hours of one GPU after the stage; 0 if nothing is evaluated."""
    disk_bytes: Spread
    """Bytes on disk at its end: checkpoints that stay, rollouts, the merged model."""
    told: tuple[str, ...]
    """Sentences on what the figures rest on, and on what may not fit."""

    @property
    def num_gpus(self) -> int:
        """Returns the number of GPUs that train."""
        return self.num_nodes * self.gpus_per_node

    @property
    def hours(self) -> Spread:
        """Returns hours on the clock, without waiting in a queue and without failures."""
        return self.training_hours + self.evaluation_hours

    @property
    def gpu_hours(self) -> Spread:
        """Returns GPU-hours of the training and of the evaluation after it, which takes one GPU."""
        return self.training_hours * self.num_gpus + self.evaluation_hours

    @property
    def training_hours(self) -> Spread:
        """Returns hours on the clock until the last step, with the start."""
        start = self.start_seconds / 3600
        return self.step_seconds * (self.num_steps / 3600) + Spread(start, start, start)


def stage_cost(
    recipe: Recipe,
    gpu: str,
    fabric: str,
    *,
    mean_response: float | None = None,
    evaluates: tuple[str, ...] = (),
) -> StageCost:
    """Returns the cost of a stage on the recipe's own number of machines.

    `mean_response` (tokens) takes the place of the assumed mean over all steps, and then has no spread. `evaluates`
    names sets of the kit that the merged model is evaluated on. Raises UserError for a model whose shape is not known,
    for lengths that no distribution has, and where a sequence of full length does not fit into a rollout engine.
    """
    shape = _shape(recipe)
    lengths, told = assumed_lengths(recipe.max_response_length, mean_response)
    slow = slowness(gpu, recipe.world_size)
    # A mean that the user gives has no spread; what is left is that of the speed.
    by_length = [lengths, lengths, lengths]
    if mean_response is None:
        low, high = (factor * lengths.mean for factor in LENGTH_SPREAD)
        by_length = [assumed_lengths(recipe.max_response_length, mean)[0] for mean in (low, lengths.mean, high)]
        told = f"{told}; the spread has {low:,.0f} to {high:,.0f}"
    # Sets of one's own are not read here: an estimate must not wait for a download.
    problems = sum(
        SOURCES[name].num_rows if name in SOURCES else UNKNOWN_VALIDATION for name in recipe.validation_dataset
    )
    steps = [step_time(recipe, shape, gpu, fabric, one, validation_problems=problems) for one in by_length]
    seconds = [one.seconds * times for one, times in zip(steps, _three(slow.times), strict=True)]
    evaluation = [
        _evaluation_hours(recipe, shape, gpu, one, evaluates) * times
        # One GPU, because `deepscaler evaluate` after a stage takes one, however many train.
        for one, times in zip(by_length, _three(slowness(gpu, 1).times), strict=True)
    ]
    kept = checkpoints_at_once(recipe) * checkpoint_bytes(recipe, shape) + BYTES_MERGED * shape.num_parameters
    return StageCost(
        name=recipe.name,
        gpu=gpu,
        num_nodes=recipe.num_nodes,
        gpus_per_node=recipe.gpus_per_node,
        num_steps=recipe.num_steps,
        mean_response=Spread(*(one.mean for one in by_length)),
        cut_off=lengths.cut_off,
        step_seconds=Spread(*seconds),
        start_seconds=Software().start,
        evaluation_hours=Spread(*evaluation),
        disk_bytes=Spread(*(kept + one.tokens * BYTES_PER_TOKEN * recipe.num_steps for one in steps)),
        told=(slow.told, told, *steps[1].warnings),
    )


def _shape(recipe: Recipe) -> ModelShape:
    try:
        return shape_of(recipe.model)
    except UserError as error:
        raise UserError(f"recipe {recipe.name}: {error}; give a folder of it: --set model=FOLDER") from error


def _three(spread: Spread) -> tuple[float, float, float]:
    return spread.low, spread.middle, spread.high


def _evaluation_hours(
    recipe: Recipe, shape: ModelShape, gpu: str, lengths: Lengths, datasets: tuple[str, ...]
) -> float:
    """Returns hours of one engine on one GPU for some benchmarks. Raises UserError for a set of unknown size."""
    if not datasets:
        return 0.0
    for name in datasets:
        if name not in SOURCES:
            raise UserError(f"the size of {name} is not known before it is read: give names of `deepscaler data list`")
    card = card_named(gpu)
    # An evaluation has the GPU for itself: gpu_memory_utilization is of training, where both sides share it.
    free = MARGIN * card.memory - BYTES_MERGED * shape.num_parameters
    engines = Engines(
        shape=shape,
        card=card,
        software=Software(),
        number=1,
        tensor_parallel=1,
        cached_tokens=int(free / shape.kv_bytes_per_token),
    )
    responses = EVALUATION_SAMPLES * sum(SOURCES[name].num_rows for name in datasets)
    return engines.seconds(lengths, responses, EVALUATION_TOKENS) / 3600
