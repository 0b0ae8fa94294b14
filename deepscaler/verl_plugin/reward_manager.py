"""Extends verl's reward manager by a response's length: whether it was cut off, `val-aux/aime/truncated/mean@8`.

A reward function sees a response's text only. How many tokens it had, and to which problem, is known here.
"""

from typing import Any

from verl.experimental.reward_loop.reward_manager import register
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager

from deepscaler.verl_plugin.beats import doing
from deepscaler.verl_plugin.overrides import RESPONSE_LIMIT


@register("deepscaler")
class RewardManager(NaiveRewardManager):  # type: ignore[misc]
    """Passes on to the function what verl's `naive` manager leaves out."""

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Scores one response."""
        last = data[-1:]  # of several outputs of one trajectory
        item = last[0]
        responses, row = item.batch["responses"], item.non_tensor_batch
        # By the mask, because responses are padded.
        num_tokens = int(item.batch["attention_mask"][-responses.shape[-1] :].sum())
        limit = int(row["tool_extra_fields"].get(RESPONSE_LIMIT, self.config.data.max_response_length))
        truncated = num_tokens >= limit
        known = {
            "num_tokens": num_tokens,
            "max_tokens": limit,
            "truncated": truncated,
            "problem": _problem(row.get("raw_prompt")),
        }
        extra_info = last.non_tensor_batch.get("extra_info")
        if extra_info is not None:  # verl hands it to the function as it is
            extra_info[0] = {**extra_info[0], **known}
        with doing("reward"):
            result: dict[str, Any] = await super().run_single(last)
        result["reward_extra_info"]["truncated"] = float(truncated)
        return result


def _problem(messages: Any) -> str:
    """Returns the last message of a prompt: what the model was asked."""
    messages = [] if messages is None else list(messages)
    return str(messages[-1].get("content", "")) if messages and isinstance(messages[-1], dict) else ""
