"""What a training run is: every hyperparameter once, with its meaning, unit, source and check.

replace(BASE, name="16k", max_response_length=16_384, group_size=16, num_nodes=4)
"""

import re
from dataclasses import Field, dataclass, field, fields, replace
from math import isfinite
from typing import Any

from deepscaler.data.sources import SOURCES
from deepscaler.system.errors import UserError, unknown

ADVANTAGE_ESTIMATORS = ("grpo", "reinforce_plus_plus", "rloo")
KL_TYPES = ("low_var_kl", "kl", "abs", "mse")
LOSS_AGGREGATIONS = ("token-mean", "seq-mean-token-sum", "seq-mean-token-mean")
PROFILES = ("faithful", "fast")

_SCRIPTS = "DeepScaleR scripts/train"
_FORK = "default of DeepScaleR's verl fork"
_KIT = "this kit"


def _parameter(default: Any, about: str, source: str, choices: tuple[str, ...] = ()) -> Any:
    """A field with its meaning (unit included), where its value is from, and what it may be."""
    return field(default=default, metadata={"about": about, "source": source, "choices": choices})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One stage of training. The defaults are what all published stages share, and the first one's sizes."""

    name: str = _parameter("8k", "of the stage; W&B's run name begins with it", _KIT)
    profile: str = _parameter("faithful", "the paper's settings, or `fast`: what verl has gained since", _KIT, PROFILES)
    model: str = _parameter("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "hub id or folder to start from", _SCRIPTS)
    train_dataset: str = _parameter("deepscaler", "prepared set to train on", _SCRIPTS)
    validation_dataset: str = _parameter("aime", "prepared set to validate on", _SCRIPTS)
    num_steps: int = _parameter(1040, "optimisation steps of the stage (one batch each)", "DeepScaleR blog, Figure 1")
    seed: int = _parameter(42, "of data order and rollout engine", "verl's default")

    num_nodes: int = _parameter(1, "machines", _SCRIPTS)
    gpus_per_node: int = _parameter(8, "GPUs in each", _SCRIPTS)

    train_batch_size: int = _parameter(128, "prompts a step", _SCRIPTS)
    group_size: int = _parameter(8, "responses a prompt: GRPO's group", _SCRIPTS)
    mini_batch_size: int = _parameter(64, "prompts an optimiser update", _SCRIPTS)
    num_epochs_per_batch: int = _parameter(1, "passes over a batch", _SCRIPTS)
    max_prompt_length: int = _parameter(1024, "tokens; longer prompts are left out", _SCRIPTS)
    max_response_length: int = _parameter(8192, "tokens; longer responses are cut off and score 0", _SCRIPTS)
    max_tokens_per_gpu: int = _parameter(32_768, "tokens of a micro batch on a GPU, packed", _SCRIPTS)

    learning_rate: float = _parameter(1e-6, "of AdamW, constant", _SCRIPTS)
    grad_clip: float = _parameter(1.0, "largest norm of the gradient", _FORK)
    clip_ratio: float = _parameter(0.2, "of the probability ratio, both sides (PPO's epsilon)", _FORK)
    dual_clip: float = _parameter(0.0, "bound of the loss where the advantage is negative; 0 for none", _FORK)
    entropy_coefficient: float = _parameter(0.001, "weight of the entropy bonus", _FORK)
    kl_coefficient: float = _parameter(0.001, "weight of the KL loss to the reference; 0 for no reference", _SCRIPTS)
    kl_type: str = _parameter("low_var_kl", "estimator of the KL divergence", _SCRIPTS, KL_TYPES)
    advantage_estimator: str = _parameter("grpo", "what turns rewards into advantages", _SCRIPTS, ADVANTAGE_ESTIMATORS)
    loss_aggregation: str = _parameter("token-mean", "of token losses over a mini batch", _FORK, LOSS_AGGREGATIONS)
    recompute_log_probs: bool = _parameter(True, "old log-probabilities by the trainer, not the rollout engine", _FORK)
    thinking: bool = _parameter(True, "whether a response without </think> was cut off and scores 0", _SCRIPTS)
    filter_groups: bool = _parameter(False, "draw again where a group is all right or all wrong (DAPO)", _FORK)

    temperature: float = _parameter(0.6, "of training rollouts", _SCRIPTS)
    validation_temperature: float = _parameter(0.6, "of validation rollouts", _SCRIPTS)
    validation_group_size: int = _parameter(8, "responses a prompt in validation", _SCRIPTS)
    tensor_parallel_size: int = _parameter(1, "GPUs that share one rollout engine", _SCRIPTS)
    sequence_parallel_size: int = _parameter(1, "GPUs that share one sequence (Ulysses)", _SCRIPTS)
    gpu_memory_utilization: float = _parameter(0.85, "share of a GPU's memory for the rollout engine", _SCRIPTS)
    asynchronous_rollout: bool = _parameter(False, "generate the next batch during the update", _FORK)
    fused_kernels: bool = _parameter(False, "log-probabilities without the logits in memory", _FORK)
    offload_actor: bool = _parameter(False, "weights and optimiser to host memory between updates", _SCRIPTS)

    save_every: int = _parameter(20, "steps between checkpoints", _SCRIPTS)
    validate_every: int = _parameter(20, "steps between validations", _SCRIPTS)

    def __post_init__(self) -> None:
        for parameter in fields(self):
            value, choices = getattr(self, parameter.name), parameter.metadata["choices"]
            if choices and value not in choices:
                raise unknown(parameter.name, str(value), choices)
        for name in (self.train_dataset, self.validation_dataset):
            if name not in SOURCES:
                raise unknown("data set", name, SOURCES)
        for checks in (self._ranges, self._relations):  # sizes of 0 divide nothing
            for holds, problem in checks():
                if not holds:
                    raise UserError(f"recipe {self.name}: {problem}")

    @property
    def world_size(self) -> int:
        """GPUs in all."""
        return self.num_nodes * self.gpus_per_node

    @property
    def max_length(self) -> int:
        """Tokens of the longest sequence."""
        return self.max_prompt_length + self.max_response_length

    def _ranges(self) -> list[tuple[bool, str]]:
        """What must hold of each field, and what to say if it does not. verl accepts most of these wrongly."""
        numbers = [name for name in parameters() if isinstance(getattr(self, name), float)]
        positive = (
            *("num_steps", "num_nodes", "gpus_per_node", "train_batch_size", "group_size", "mini_batch_size"),
            *("num_epochs_per_batch", "max_prompt_length", "max_response_length", "max_tokens_per_gpu"),
            *("validation_group_size", "tensor_parallel_size", "sequence_parallel_size", "save_every"),
            *("validate_every", "learning_rate", "grad_clip", "temperature"),
        )
        not_negative = ("entropy_coefficient", "kl_coefficient", "validation_temperature")
        return [
            (bool(re.fullmatch(r"\w[\w.-]*", self.name)), f"name {self.name!r} must be letters, digits, . _ or -"),
            (bool(self.model), "model must be a hub id or a folder"),
            *((isfinite(getattr(self, name)), f"{name} {getattr(self, name)} must be a number") for name in numbers),
            *((getattr(self, name) > 0, f"{name} {getattr(self, name)} must be above 0") for name in positive),
            *(
                (getattr(self, name) >= 0, f"{name} {getattr(self, name)} must not be negative")
                for name in not_negative
            ),
            (0 < self.clip_ratio < 1, f"clip_ratio {self.clip_ratio} must lie between 0 and 1"),
            (
                0 < self.gpu_memory_utilization < 1,
                f"gpu_memory_utilization {self.gpu_memory_utilization} must lie between 0 and 1",
            ),
            (self.dual_clip == 0 or self.dual_clip > 1, f"dual_clip {self.dual_clip} must be 0 (none) or above 1"),
            (0 <= self.seed < 1 << 32, f"seed {self.seed} must lie between 0 and {(1 << 32) - 1}"),
        ]

    def _relations(self) -> list[tuple[bool, str]]:
        """What must hold between fields."""
        shards = self.world_size // self.sequence_parallel_size
        return [
            (
                self.mini_batch_size <= self.train_batch_size and not self.train_batch_size % self.mini_batch_size,
                f"mini_batch_size {self.mini_batch_size} must divide train_batch_size {self.train_batch_size}",
            ),
            (
                not self.gpus_per_node % self.tensor_parallel_size,
                f"tensor_parallel_size {self.tensor_parallel_size} must divide gpus_per_node {self.gpus_per_node}",
            ),
            (
                not self.world_size % self.sequence_parallel_size,
                f"sequence_parallel_size {self.sequence_parallel_size} must divide the {self.world_size} GPUs",
            ),
            (
                shards > 0 and not self.mini_batch_size * self.group_size % shards,
                f"mini_batch_size x group_size = {self.mini_batch_size * self.group_size} responses"
                f" must divide over {shards} data-parallel ranks",
            ),
            (
                self.max_tokens_per_gpu * self.sequence_parallel_size >= self.max_length,
                f"max_tokens_per_gpu {self.max_tokens_per_gpu} x sequence_parallel_size {self.sequence_parallel_size}"
                f" must hold one sequence of {self.max_length} tokens (prompt + response)",
            ),
            (
                self.advantage_estimator != "grpo" or self.group_size > 1,
                "grpo compares the responses of a group: group_size must be above 1",
            ),
            (
                self.profile == "fast" or not (self.asynchronous_rollout or self.fused_kernels or self.filter_groups),
                "asynchronous_rollout, fused_kernels and filter_groups are of the profile `fast`",
            ),
        ]


def parameters() -> dict[str, Field[Any]]:
    """Every hyperparameter by name."""
    return {parameter.name: parameter for parameter in fields(Recipe)}


def with_settings(recipe: Recipe, settings: list[str]) -> Recipe:
    """A recipe changed by `field=value` texts. Raises UserError for unknown fields and values of the wrong type."""
    changes: dict[str, Any] = {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator:
            raise UserError(f"--set {setting!r} is no field=value")
        if name not in parameters():
            raise unknown("recipe field", name, parameters())
        changes[name] = _parse(name, text, getattr(recipe, name))
    return replace(recipe, **changes)


def _parse(name: str, text: str, current: Any) -> Any:
    """A text in the type of the field's present value."""
    try:
        if isinstance(current, bool):
            return {"true": True, "false": False}[text.lower()]
        return type(current)(text.replace("_", "") if isinstance(current, int) else text)
    except (KeyError, ValueError):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(current)]
        raise UserError(f"--set {name}={text}: {kind} is wanted ({parameters()[name].metadata['about']})") from None
