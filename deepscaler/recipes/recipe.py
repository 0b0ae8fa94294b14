"""Defines a training run: every hyperparameter once, with its meaning, unit, source and range.

replace(BASE, name="16k", max_response_length=16_384, group_size=16, num_nodes=4)
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

from deepscaler.data.names import check_name
from deepscaler.recipes.relations import broken_relations
from deepscaler.recipes.signs import check_signs
from deepscaler.recipes.tables import DataOptions, RewardOptions
from deepscaler.system.errors import UserError
from deepscaler.system.options import check_options, option, parse_settings, table, with_options

Profile = Literal["faithful", "fast"]
Device = Literal["cuda", "cpu"]
"""Device of a run: GPUs, or the processors of a machine without any (deepscaler/verl_plugin/cpu)."""

AdvantageEstimator = Literal["grpo", "reinforce_plus_plus", "reinforce_plus_plus_baseline", "rloo", "opo"]
PolicyLoss = Literal["vanilla", "gspo", "cispo", "geo_mean", "sapo", "gpg", "dppo_tv", "dppo_kl"]
LearningRateSchedule = Literal["constant", "cosine"]
RolloutCorrection = Literal["none", "token", "sequence"]
RolloutRejection = Literal[
    "none",
    "token_k1",
    "token_k2",
    "token_k3",
    "seq_sum_k1",
    "seq_sum_k2",
    "seq_sum_k3",
    "seq_mean_k1",
    "seq_mean_k2",
    "seq_mean_k3",
    "seq_max_k2",
    "seq_max_k3",
]
KLType = Literal["low_var_kl", "kl", "abs", "mse"]
FusedKernels = Literal["none", "chunked", "triton"]
LossAggregation = Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"]

_SCRIPTS = "DeepScaleR scripts/train"
_FORK = "default of DeepScaleR's verl fork"
_VERL = "verl's default"
_KIT = "this kit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One stage of training. The defaults are what all published stages share, and the first one's sizes."""

    name: str = option("8k", "name of the stage; W&B's run name begins with it", source=_KIT)
    profile: Profile = option("faithful", "the paper's settings, or what verl has gained since", source=_KIT)
    model: str = option(
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "hub id or folder of the model to start from", source=_SCRIPTS
    )
    train_dataset: tuple[str, ...] = option(
        ("deepscaler",), "data sets to train on: names, files or hub:ORG/NAME", one_or_more=True, source=_SCRIPTS
    )
    validation_dataset: tuple[str, ...] = option(
        ("aime",), "data sets to validate on: names, files or hub:ORG/NAME", one_or_more=True, source=_SCRIPTS
    )
    num_steps: int = option(
        1040, "optimization steps of the stage, one batch each", above=0, source="DeepScaleR blog, Figure 1"
    )
    seed: int = option(
        42, "seed of the data order and of every response", at_least=0, at_most=2**32 - 1, source="verl's default"
    )
    seeded_responses: bool = option(
        True, "give each response a seed of its own; an asynchronous rollout gives none", source="docs/reproducible.md"
    )

    num_nodes: int = option(1, "number of machines", above=0, source=_SCRIPTS)
    gpus_per_node: int = option(8, "GPUs per machine", above=0, source=_SCRIPTS)

    train_batch_size: int = option(128, "prompts per step", above=0, source=_SCRIPTS)
    group_size: int = option(8, "responses per prompt: GRPO's group", above=0, source=_SCRIPTS)
    mini_batch_size: int = option(64, "prompts per optimizer update", above=0, source=_SCRIPTS)
    num_epochs_per_batch: int = option(1, "passes over a batch", above=0, source=_SCRIPTS)
    max_prompt_length: int = option(1024, "most tokens of a prompt; longer ones are left out", above=0, source=_SCRIPTS)
    max_response_length: int = option(
        8192, "most tokens of a response; longer ones are cut off and score 0", above=0, source=_SCRIPTS
    )
    max_tokens_per_gpu: int = option(32_768, "tokens of a packed micro batch on one GPU", above=0, source=_SCRIPTS)

    learning_rate: float = option(1e-6, "learning rate of AdamW, after the warm-up", above=0, source=_SCRIPTS)
    learning_rate_schedule: LearningRateSchedule = option("constant", "course of the learning rate", source=_FORK)
    num_warmup_steps: int = option(0, "steps over which the learning rate rises from 0", at_least=0, source=_FORK)
    weight_decay: float = option(0.01, "decoupled weight decay of AdamW", at_least=0, source=_FORK)
    grad_clip: float = option(1.0, "largest norm of the gradient", above=0, source=_FORK)
    clip_ratio: float = option(
        0.2, "PPO's epsilon: bound of the probability ratio, both sides", above=0, below=1, source=_FORK
    )
    clip_ratio_low: float = option(
        0.0, "PPO's epsilon of the lower bound; 0 for clip_ratio", at_least=0, below=1, source=_FORK
    )
    clip_ratio_high: float = option(
        0.0, "PPO's epsilon of the upper bound (DAPO's clip-higher); 0 for clip_ratio", at_least=0, source=_FORK
    )
    # The fork had no dual clip (arXiv 1912.09729); verl 0.9.1 applies it at 3.0 unless told otherwise.
    dual_clip: float = option(
        0.0, "bound of the loss where the advantage is negative; 0 for none", above=1, or_zero=True, source=_FORK
    )
    # The fork's default, which verl 0.9.1 has set to 0: the paper's runs had the bonus without naming it.
    entropy_coefficient: float = option(0.001, "weight of the entropy bonus", at_least=0, source=_FORK)
    kl_coefficient: float = option(
        0.001, "weight of the KL loss against the reference; 0 for no reference", at_least=0, source=_SCRIPTS
    )
    kl_type: KLType = option("low_var_kl", "estimator of the KL divergence", source=_SCRIPTS)
    advantage_estimator: AdvantageEstimator = option(
        "grpo", "method that turns rewards into advantages", source=_SCRIPTS
    )
    normalize_by_deviation: bool = option(
        True, "divide GRPO's advantages by the group's standard deviation (Dr. GRPO does not)", source=_FORK
    )
    policy_loss: PolicyLoss = option("vanilla", "loss over the clipped ratios, as verl names them", source=_FORK)
    loss_aggregation: LossAggregation = option(
        "token-mean", "sum of token losses over a mini batch, as verl names it", source=_FORK
    )
    mask_truncated: bool = option(
        False,
        "leave the tokens of responses that were cut off out of the loss (DAPO's overlong filtering)",
        source=_FORK,
    )
    recompute_log_probs: bool = option(
        True, "take old log-probabilities from the trainer, not the rollout engine", source=_FORK
    )
    rollout_correction: RolloutCorrection = option(
        "none",
        "importance weights between trainer and rollout engine, per token or per sequence",
        source=_FORK,
    )
    correction_threshold: float = option(
        2.0, "upper bound of the weights of rollout_correction, which are cut to it", above=0, source=_VERL
    )
    correction_floor: float = option(
        0.0,
        "lower bound of these weights: with it, a weight outside both bounds is 0 (IcePop); 0 for none",
        at_least=0,
        source=_VERL,
    )
    rollout_rejection: RolloutRejection = option(
        "none",
        "measure of verl that leaves out tokens or responses on which trainer and rollout engine disagree",
        source=_FORK,
    )
    rejection_threshold: float = option(
        0.0,
        "largest value that is kept: a ratio of probabilities (k1) or a divergence (k2, k3)",
        at_least=0,
        source=_VERL,
    )
    rejection_floor: float = option(
        0.0, "smallest ratio that is kept (k1); 0 for 1 / rejection_threshold", at_least=0, source=_VERL
    )
    thinking: bool = option(True, "count a response without </think> as cut off, so it scores 0", source=_SCRIPTS)
    filter_groups: bool = option(False, "draw again if a group is all right or all wrong (DAPO)", source=_FORK)
    max_refills: int = option(
        10,
        "batches of discarded prompts, after which filter_groups takes a step's groups as they are",
        above=0,
        source="verl's DAPO recipe (max_num_gen_batches)",
    )

    lora_rank: int = option(
        0, "rank of the adapter that is trained instead of all weights; 0 for none", at_least=0, source=_SCRIPTS
    )
    lora_alpha: int = option(
        16, "scale of the adapter: its product is multiplied by lora_alpha / lora_rank", above=0, source=_VERL
    )
    lora_modules: tuple[str, ...] = option(
        ("all-linear",), "modules that get an adapter, by the end of their names", one_or_more=True, source=_VERL
    )

    temperature: float = option(0.6, "temperature of training rollouts", above=0, source=_SCRIPTS)
    validation_temperature: float = option(0.6, "temperature of validation rollouts", at_least=0, source=_SCRIPTS)
    validation_top_p: float = option(1.0, "top-p of validation rollouts", above=0, at_most=1, source=_SCRIPTS)
    validation_max_response_length: int = option(
        0, "most tokens of a response in validation; 0 for max_response_length", at_least=0, source=_SCRIPTS
    )
    validation_group_size: int = option(8, "responses per prompt in validation", above=0, source=_SCRIPTS)
    tensor_parallel_size: int = option(1, "GPUs that share one rollout engine", above=0, source=_SCRIPTS)
    sequence_parallel_size: int = option(1, "GPUs that share one sequence (Ulysses)", above=0, source=_SCRIPTS)
    gpu_memory_utilization: float = option(
        0.85, "share of a GPU's memory for the rollout engine", above=0, below=1, source=_SCRIPTS
    )
    asynchronous_rollout: bool = option(False, "generate the next batch during the update", source=_FORK)
    batches_ahead: int = option(
        1,
        "batches that asynchronous_rollout requests ahead; responses get older by as many updates",
        above=0,
        source=_VERL,
    )
    fused_kernels: FusedKernels = option(
        "chunked",
        "way to compute log-probabilities without a batch's logits in memory: in chunks, or with verl's Triton kernel",
        source=_KIT,
    )
    checkpoint_activations: bool = option(
        True, "compute activations again for the gradient, instead of keeping them", source=_SCRIPTS
    )
    offload_actor: bool = option(False, "keep weights and optimizer in host memory between updates", source=_SCRIPTS)

    save_every: int = option(20, "steps between checkpoints", above=0, source=_SCRIPTS)
    validate_every: int = option(20, "steps between validations", above=0, source=_SCRIPTS)
    keep: int = option(2, "number of newest checkpoints that stay on disk", above=0, source=_KIT)
    keep_every: int = option(
        0, "steps between checkpoints that stay, too, however old they are; 0 for none", at_least=0, source=_KIT
    )
    keep_best: int = option(
        0,
        "number of checkpoints with the best validations that stay, too, however old they are; 0 for none",
        at_least=0,
        source=_KIT,
    )

    signs: dict[str, Any] = option(
        {}, "thresholds of signs of a sick run, by name; false turns one off", merged=True, source=_KIT
    )

    data: DataOptions = table(DataOptions, "options for your own files: columns, weights, prompt")
    reward: RewardOptions = table(RewardOptions, "the parts of a response's reward")
    verl: dict[str, Any] = option({}, "any other key of verl's configuration", merged=True, source=_KIT)

    def __post_init__(self) -> None:
        # The dataclass is frozen; TOML nests `a.b = 1`, and verl's keys are compared as dotted names.
        object.__setattr__(self, "verl", flattened(self.verl))
        try:
            self._check()
        except UserError as error:
            raise UserError(f"recipe {self.name}: {error}") from error

    def _check(self) -> None:
        check_options(self)
        # It becomes a folder of a chain and part of W&B's names, so no slash and no leading dash.
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise UserError(f"invalid value {self.name!r} for name: expected letters, digits, . _ or -")
        if not self.model:
            raise UserError("invalid value '' for model: expected a hub id or a folder")
        for field in ("train_dataset", "validation_dataset"):
            if not getattr(self, field):
                raise UserError(f"{field} is empty: give one or more data sets")
            for name in getattr(self, field):
                check_name(name)
        if self.data.weights and len(self.data.weights) != len(self.train_dataset):
            raise UserError(
                f"data.weights has {len(self.data.weights)} numbers for {len(self.train_dataset)} train_dataset:"
                " give one for each"
            )
        self.reward.check(self.max_response_length)
        check_signs(self.signs)
        if problem := next(broken_relations(self), None):
            raise UserError(problem)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Returns all data sets that it reads, in training and validation."""
        return tuple(dict.fromkeys((*self.train_dataset, *self.validation_dataset)))

    @property
    def world_size(self) -> int:
        """Returns the number of GPUs on all machines."""
        return self.num_nodes * self.gpus_per_node

    @property
    def max_length(self) -> int:
        """Returns the tokens of the longest sequence in training."""
        return self.max_prompt_length + self.max_response_length

    @property
    def validation_length(self) -> int:
        """Returns the tokens of the longest response in validation."""
        return self.validation_max_response_length or self.max_response_length

    @property
    def longest_response(self) -> int:
        """Returns the tokens of the longest response in training or validation."""
        return max(self.max_response_length, self.validation_length)


def flattened(table: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Returns nested tables as one of dotted keys; a later key wins, and an empty table stays."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        key = f"{above}{name}"
        found |= flattened(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return found


def with_settings(recipe: Recipe, settings: list[str]) -> Recipe:
    """Returns a recipe changed by `field=value` texts. Raises UserError for unknown fields and unreadable values."""
    return with_options(recipe, parse_settings(settings, Recipe, "recipe field"))
