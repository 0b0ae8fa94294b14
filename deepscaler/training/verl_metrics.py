"""What verl 0.9.1 logs, as it is meant: two of its numbers are not what their names say.

`response_length/clip_ratio` is the share of responses as long as the longest of their batch, not as the limit.
Where the rollout's log-probabilities are taken over, the entropy comes as `actor/entropy_loss`.
"""

from typing import Any


def corrected(values: dict[str, Any], max_response_length: int) -> dict[str, Any]:
    """A step's metrics, with the share of responses that hit the limit, and the entropy under one name."""
    found = dict(values)
    longest = values.get("response_length/max")
    if "response_length/clip_ratio" in values and longest is not None and longest < max_response_length:
        found["response_length/clip_ratio"] = 0.0
    if "actor/entropy_loss" in values:
        found.setdefault("actor/entropy", values["actor/entropy_loss"])
    return found
