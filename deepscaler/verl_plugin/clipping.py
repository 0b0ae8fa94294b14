"""Tells at which bound of the probability ratio tokens are clipped: verl's losses count both bounds as one.

actor/pg_clipfrac_high  share of tokens at the upper bound
actor/pg_clipfrac_low   share of tokens at the lower bound; the two are verl's actor/pg_clipfrac

verl's own loss is asked again without a lower bound, so that nothing of it is written down a second time.
"""

import copy
import math
from functools import wraps
from typing import Any

import torch
from verl.trainer.ppo.core_algos import get_policy_loss_fn, register_policy_loss

LOSSES = ("vanilla", "gspo", "cispo", "dppo_tv", "dppo_kl", "bypass_mode")
"""verl's losses with two bounds and one count. `geo_mean` counts by the sign of the advantage, others clip nothing."""


def register() -> None:
    """Replaces verl's losses with ones that count each bound by itself."""
    for name in LOSSES:
        loss = get_policy_loss_fn(name)
        # Once: a loss that is wrapped again would be computed four times.
        if not hasattr(loss, "__wrapped__"):
            register_policy_loss(name)(_told_apart(loss))


def _told_apart(loss: Any) -> Any:
    @wraps(loss)
    def with_bounds(*tensors: Any, config: Any, **more: Any) -> tuple[Any, dict[str, Any]]:
        value, metrics = loss(*tensors, config=config, **more)
        both = metrics.get("actor/pg_clipfrac")
        if both is not None:
            upper = copy.copy(config)
            # 1 - inf is a bound that clips nothing; a copy, because the loss reads other fields of it, too.
            vars(upper)["clip_ratio_low"] = math.inf  # the class is frozen
            with torch.no_grad():
                high = loss(*tensors, config=upper, **more)[1]["actor/pg_clipfrac"]
            # Rounding can leave the difference of two means a little below 0.
            metrics |= {"actor/pg_clipfrac_high": high, "actor/pg_clipfrac_low": max(0.0, both - high)}
        return value, metrics

    return with_bounds
