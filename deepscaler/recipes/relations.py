"""Relations that must hold between the fields of a recipe. A setting without effect is refused, not ignored.

broken_relations(recipe) => "mini_batch_size 256 must divide train_batch_size 128"
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepscaler.recipes.recipe import Recipe

_UNCLIPPED = ("gpg", "sapo")
"""Policy losses that look at no bound of the probability ratio."""

_FIXED_AGGREGATION = ("geo_mean", "sapo")
"""Policy losses that sum token losses in a way of their own."""

_DUAL_CLIPPED = ("vanilla", "dppo_tv", "dppo_kl")


def broken_relations(recipe: "Recipe") -> Iterator[str]:
    """Yields what is wrong with each relation that does not hold."""
    for relations in (_sizes, _algorithm, _off_policy, _without_effect):
        yield from (problem for holds, problem in relations(recipe) if not holds)


def _sizes(r: "Recipe") -> list[tuple[bool, str]]:
    shards = r.world_size // r.sequence_parallel_size
    return [
        (
            r.mini_batch_size <= r.train_batch_size and not r.train_batch_size % r.mini_batch_size,
            f"mini_batch_size {r.mini_batch_size} must divide train_batch_size {r.train_batch_size}",
        ),
        (
            not r.gpus_per_node % r.tensor_parallel_size,
            f"tensor_parallel_size {r.tensor_parallel_size} must divide gpus_per_node {r.gpus_per_node}",
        ),
        (
            not r.world_size % r.sequence_parallel_size,
            f"sequence_parallel_size {r.sequence_parallel_size} must divide the {r.world_size} GPUs",
        ),
        (
            # verl splits each mini batch evenly over the ranks.
            shards > 0 and not r.mini_batch_size * r.group_size % shards,
            f"mini_batch_size x group_size = {r.mini_batch_size * r.group_size} responses"
            f" must divide over {shards} data-parallel ranks",
        ),
        (
            # verl's validate_config accepts less, and the packing then fails at the first long response.
            r.max_tokens_per_gpu * r.sequence_parallel_size >= r.max_length,
            f"max_tokens_per_gpu {r.max_tokens_per_gpu} x sequence_parallel_size {r.sequence_parallel_size}"
            f" must hold one sequence of {r.max_length} tokens (prompt + response)",
        ),
    ]


def _algorithm(r: "Recipe") -> list[tuple[bool, str]]:
    low, high = r.clip_ratio_low or r.clip_ratio, r.clip_ratio_high or r.clip_ratio
    return [
        (
            r.advantage_estimator != "grpo" or r.group_size > 1,
            "grpo compares the responses of a group: group_size must be above 1",
        ),
        (
            not r.clip_ratio_high or high >= low,
            f"clip_ratio_high {r.clip_ratio_high} must be 0 (for clip_ratio) or at least the lower bound {low}",
        ),
        (
            not r.filter_groups or r.group_size > 1,
            "filter_groups compares the responses of a group: group_size must be above 1",
        ),
        (
            # OPO's baseline is a mean weighted by length (arXiv 2505.23585).
            not r.mask_truncated or r.advantage_estimator != "opo",
            "mask_truncated does not go with opo, which divides by the tokens of a group: masked ones leave none",
        ),
        (
            not r.keep_every % r.save_every,
            f"keep_every {r.keep_every} must be a multiple of save_every {r.save_every}: nothing is saved between",
        ),
        (
            # verl validates a step after it has saved it, so both must fall on one step.
            not r.keep_best or not r.save_every % r.validate_every,
            f"keep_best compares checkpoints by their validation: save_every {r.save_every} must be a multiple of"
            f" validate_every {r.validate_every}",
        ),
        # what `faithful` refuses changes which weights are trained, on which responses, or how exactly they are
        # scored, whatever the hyperparameters are; figures that were published for a recipe are then none of its own
        (
            r.profile == "fast" or not (r.asynchronous_rollout or r.filter_groups or r.lora_rank),
            "asynchronous_rollout, filter_groups and lora_rank are of the profile `fast`",
        ),
    ]


def _off_policy(r: "Recipe") -> list[tuple[bool, str]]:
    corrected = [
        f"{name}={value}"
        for name, value in (("rollout_correction", r.rollout_correction), ("rollout_rejection", r.rollout_rejection))
        if value != "none"
    ]
    return [
        (
            # Without the trainer's own pass there is one set of log-probabilities, and no ratio of two.
            not corrected or r.recompute_log_probs,
            f"{' and '.join(corrected)} weighs the trainer's log-probabilities against the"
            " rollout engine's: it needs recompute_log_probs=true",
        ),
        (
            not r.asynchronous_rollout or bool(corrected) or not r.recompute_log_probs,
            "asynchronous_rollout trains on older weights' responses: set rollout_correction to token or sequence",
        ),
        (
            r.correction_floor <= r.correction_threshold,
            f"correction_floor {r.correction_floor} must be at most correction_threshold {r.correction_threshold}",
        ),
        (
            r.rollout_rejection == "none" or r.rejection_threshold > 0,
            f"rollout_rejection={r.rollout_rejection} needs rejection_threshold: verl's presets have 0.01 for"
            " seq_mean_k3, 1.001 for seq_mean_k1, 2 for seq_sum_k1",
        ),
        (
            # verl takes 1 / threshold as the lower bound of a ratio: below 1 that would be above the upper one.
            not r.rollout_rejection.endswith("k1") or r.rejection_floor > 0 or r.rejection_threshold >= 1,
            f"rejection_threshold {r.rejection_threshold} must be at least 1, the ratio of equal probabilities, or"
            " give rejection_floor",
        ),
        (
            r.rejection_floor <= r.rejection_threshold or r.rollout_rejection == "none",
            f"rejection_floor {r.rejection_floor} must be at most rejection_threshold {r.rejection_threshold}",
        ),
    ]


def _without_effect(r: "Recipe") -> list[tuple[bool, str]]:
    """Settings that verl would take and never look at."""
    return [
        (
            not (r.clip_ratio_low or r.clip_ratio_high) or r.policy_loss not in _UNCLIPPED,
            f"clip_ratio_low and clip_ratio_high have no effect on policy_loss={r.policy_loss}, which clips no ratio",
        ),
        (
            not r.dual_clip or r.policy_loss in _DUAL_CLIPPED,
            f"dual_clip has no effect on policy_loss={r.policy_loss}: it needs one of {', '.join(_DUAL_CLIPPED)}",
        ),
        (
            r.loss_aggregation == "token-mean" or r.policy_loss not in _FIXED_AGGREGATION,
            f"loss_aggregation has no effect on policy_loss={r.policy_loss}, which sums token losses in its own way",
        ),
        (
            r.normalize_by_deviation or r.advantage_estimator == "grpo",
            f"normalize_by_deviation has no effect on advantage_estimator={r.advantage_estimator}: it needs grpo",
        ),
        (
            not r.correction_floor or r.rollout_correction != "none",
            "correction_floor has no effect without rollout_correction",
        ),
        (
            not (r.rejection_threshold or r.rejection_floor) or r.rollout_rejection != "none",
            "rejection_threshold and rejection_floor have no effect without rollout_rejection",
        ),
        (
            not r.rejection_floor or r.rollout_rejection.endswith("k1"),
            f"rejection_floor has no effect on rollout_rejection={r.rollout_rejection}, a divergence of at least 0",
        ),
        (
            r.batches_ahead == 1 or r.asynchronous_rollout,
            "batches_ahead has no effect without asynchronous_rollout",
        ),
    ]
