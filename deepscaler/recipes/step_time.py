"""Predicts how long a step of a recipe takes on so many GPUs, from figures measured on one, and what a stage costs.

step_time(RECIPES["8k"], shape, "A100-80GB", "ib", DEEPSCALER["8k"]).seconds      a model, not a measurement

Rather too low than too high, because it leaves out prefill (shared by a group), refills of dynamic sampling, the
all-to-all of sequence parallelism, the all-reduce of tensor parallelism, slow or failing machines, what generation and
passes take from each other where they overlap, and that responses to one prompt are alike in length. The optimizer's
own step (10 ms on one GPU) is in a pass's fixed time.
"""

from dataclasses import dataclass, fields

from deepscaler.recipes.cards import Software, card_named, ring_bandwidth
from deepscaler.recipes.generation import Engines
from deepscaler.recipes.memory import BYTES_BETWEEN_UPDATES, estimate
from deepscaler.recipes.model_shape import ModelShape
from deepscaler.recipes.packing import packed
from deepscaler.recipes.recipe import Recipe
from deepscaler.recipes.response_lengths import Lengths
from deepscaler.system.errors import UserError

MEASURED = Software()
"""GPU that the defaults below describe."""

NUM_PHASES = 8
"""The first fields of a StepTime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Seconds of a mean step by phase, the longest GPU of each, and what it works through."""

    generate: float
    old_log_probabilities: float
    reference: float
    update: float
    communication: float
    """Seconds of the three passes that computation does not hide."""
    weight_sync: float
    """And all else between the phases."""
    validation: float
    """Seconds of one validation, spread over the steps between two."""
    saving: float
    """Seconds of one checkpoint, likewise."""
    overlapped: bool
    """True if the next batch is generated during the passes."""
    tokens: float
    """Prompts and responses of a step."""
    num_gpus: int
    warnings: tuple[str, ...]
    """Why the job may not fit, or what the model leaves out of this recipe."""

    @property
    def training(self) -> float:
        """Returns the seconds of all passes."""
        return self.old_log_probabilities + self.reference + self.update + self.communication

    @property
    def seconds(self) -> float:
        """Returns the seconds of a step: the longer of generation and passes if they overlap, else their sum."""
        both = max(self.generate, self.training) if self.overlapped else self.generate + self.training
        return both + self.weight_sync + self.validation + self.saving

    @property
    def tokens_per_gpu_second(self) -> float:
        """Returns the throughput of the whole step."""
        return self.tokens / self.seconds / self.num_gpus

    def shares(self) -> dict[str, float]:
        """Returns each phase's part of the sum of phases."""
        phases = {one.name: getattr(self, one.name) for one in fields(self)[:NUM_PHASES]}
        return {name: value / sum(phases.values()) for name, value in phases.items()}


def step_time(
    recipe: Recipe,
    shape: ModelShape,
    gpu: str,
    fabric: str,
    lengths: Lengths,
    *,
    software: Software = MEASURED,
    validation_problems: int = 30,
) -> StepTime:
    """Returns the time of a mean step on a kind of GPU (cards.CARDS) and network between machines (cards.FABRICS).

    Validation is taken to draw responses as long as training's, up to its own limit; 30 problems are AIME 2024. Raises
    UserError for an unknown kind, and where the rollout engine cannot hold one sequence of full length. What else may
    not fit is in the warnings.
    """
    card, ranks = card_named(gpu), recipe.world_size
    needs = estimate(recipe, shape, gpu)
    # vLLM refuses to start in this case, so there is no time to be stated.
    if needs.sequences_at_once < 1:
        raise UserError(
            f"recipe {recipe.name} on {gpu}: the rollout engine's cache holds {needs.cached_tokens:,} tokens, and a"
            f" sequence has up to {recipe.max_length:,}: raise gpu_memory_utilization, or lower max_response_length"
        )
    # bytes over a ring: (n - 1) / n x all of them; weights in bfloat16, gradients in float32
    gather = 2 * shape.num_parameters * (ranks - 1) / ranks / ring_bandwidth(gpu, fabric, recipe.num_nodes)
    scatter = 0.0 if recipe.lora_rank else 2 * gather
    # a reference's shards come from host memory with every micro batch, whatever the recipe offloads
    load = 2 * shape.num_parameters / ranks / card.pcie
    forward = software.forward * card.flops
    # forward, forward again, and backward for inputs and weights; an adapter needs no gradient of the weights
    update = software.update * card.flops / (3 if recipe.lora_rank else 4)
    update *= 1.0 if recipe.checkpoint_activations else software.kept_activations
    prompt = min(lengths.prompt, recipe.max_prompt_length)
    batch, mini_batch = (
        [prompt + length for length in lengths.sample(number * recipe.group_size, recipe.max_response_length)]
        for number in (recipe.train_batch_size, recipe.mini_batch_size)
    )
    old, old_waits = _pass_seconds(recipe, shape, batch, forward, gather)
    frozen, frozen_waits = _pass_seconds(recipe, shape, batch, forward, gather + load)
    one_update, update_waits = _pass_seconds(recipe, shape, mini_batch, update, 2 * gather, scatter)
    has_old, has_reference = recipe.recompute_log_probs, recipe.kl_coefficient > 0
    num_updates = needs.updates_per_step
    engines = Engines(
        shape=shape,
        card=card,
        software=software,
        number=ranks // recipe.tensor_parallel_size,
        tensor_parallel=recipe.tensor_parallel_size,
        cached_tokens=needs.cached_tokens,
    )
    # batches that are asked for ahead are drawn together: a long response of one keeps no place of the next empty
    together = recipe.batches_ahead if recipe.asynchronous_rollout else 1
    validation = engines.seconds(lengths, validation_problems * recipe.validation_group_size, recipe.validation_length)
    state = BYTES_BETWEEN_UPDATES * shape.num_parameters
    # Out before the rollout and back in after it.
    swap = 2 * state / ranks / card.pcie if recipe.offload_actor else 0.0
    refills = ["filter_groups draws again where a group teaches nothing: not counted"] * recipe.filter_groups
    return StepTime(
        # Divided again: several batches are drawn at once, and one of them is a step's.
        generate=engines.seconds(lengths, together * len(batch), recipe.max_response_length) / together,
        old_log_probabilities=has_old * (old + software.one_pass),
        reference=has_reference * (frozen + software.one_pass),
        update=num_updates * one_update + software.one_pass,
        communication=has_old * old_waits + has_reference * frozen_waits + num_updates * update_waits,
        weight_sync=software.between + gather + swap,
        validation=validation / recipe.validate_every,
        # All machines write at once, each its own ranks' shards.
        saving=state / recipe.num_nodes / software.storage / recipe.save_every,
        overlapped=recipe.asynchronous_rollout,
        tokens=sum(batch),
        num_gpus=ranks,
        warnings=(*needs.warnings, *refills),
    )


def gpu_hours(recipe: Recipe, step: StepTime, software: Software = MEASURED) -> float:
    """Returns what all steps of a stage cost, its start included; no failures, no evaluation between stages."""
    return (software.start + recipe.num_steps * step.seconds) * recipe.world_size / 3600


def _pass_seconds(
    recipe: Recipe, shape: ModelShape, sequences: list[float], rate: float, exchange: float, last: float = 0.0
) -> tuple[float, float]:
    """Returns seconds of computing one pass at `rate` operations a second, and of communication it does not hide.

    Every micro batch gathers weights (`exchange` seconds); only the last one scatters gradients (`last` seconds more):
    verl defers them to it. Both run beside computation, so that the longer counts.
    """
    shared_by = recipe.sequence_parallel_size
    operations = packed(
        sequences, recipe.world_size // shared_by, recipe.max_tokens_per_gpu * shared_by, shape.forward_flops
    )
    computing = [one / rate / shared_by for one in operations]
    exchanging = [exchange] * (len(computing) - 1) + [exchange + last]
    waiting = sum(max(0.0, other - one) for one, other in zip(computing, exchanging, strict=True))
    return sum(computing), waiting
