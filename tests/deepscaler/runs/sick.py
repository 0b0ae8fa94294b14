"""Makes the numbers that verl logs in a run that is well, and in one that falls ill with one sign."""

import math
from typing import Any

from tests.deepscaler.runs.runs import learning

NUM_STEPS = 30

SICK: dict[str, dict[str, list[Any]]] = {
    "reward_zero": {"critic/score/mean": [0.0]},
    "reward_constant": {"critic/score/mean": [0.5]},
    "no_variance": {"training/filter_groups/zero_variance_groups": [1.0, 0.9]},
    "entropy_low": {"actor/entropy": [0.008, 0.003]},
    "kl_rising": {"actor/kl_loss": [0.4, 0.6]},
    "mismatch_rising": {"rollout_corr/kl": [0.01, -0.03]},
    "cut_off": {"response_length/clip_ratio": [0.97, 1.0], "response_length/max": [8192.0]},
    "undecided": {"reward/undecided/mean": [0.03]},
    "step_slow": {"timing_s/step": [310.0]},
    "not_finite": {
        "critic/score/mean": [None],
        "actor/entropy": [math.nan, 1e308],
        "actor/kl_loss": [math.inf, -math.inf, 10**400],
    },
}
"""Numbers that a run logs from its 25th step on, by turns."""


def healthy(num_steps: int = NUM_STEPS) -> list[tuple[int, Any]]:
    lines = learning(num_steps)
    for step, values in lines[1:]:
        values |= {
            "training/filter_groups/zero_variance_groups": (0.25, 1.0, 0.625)[step % 3],
            "rollout_corr/kl": 1e-4 * (1 + step % 3),
            "reward/undecided/mean": 0.0,
            "response_length/max": 8192.0,
        }
    return lines


def falling_ill(name: str) -> list[tuple[int, Any]]:
    lines = healthy()
    for step, values in lines[25:] if name != "step_slow" else lines[-1:]:
        values |= {key: course[step % len(course)] for key, course in SICK[name].items()}
    return lines
