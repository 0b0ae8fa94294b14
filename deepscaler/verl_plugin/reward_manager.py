"""verl's reward manager, which also says which responses were cut off: `val-aux/aime/truncated/mean@8`.

Our grader sees a response's text only; how many tokens it had, and whether it ended, is known here.
"""

from typing import Any

from verl.experimental.reward_loop.reward_manager import register
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager

from deepscaler.verl_plugin.overrides import RESPONSE_LIMIT


@register("deepscaler")
class RewardManager(NaiveRewardManager):  # type: ignore[misc]
    """`naive`, and one metric more."""

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Score one response."""
        result: dict[str, Any] = await super().run_single(data)
        batch = data[-1:][0].batch
        responses = batch["responses"]
        num_tokens = int(batch["attention_mask"][-responses.shape[-1] :].sum())
        more = data.non_tensor_batch["tool_extra_fields"][-1]
        limit = int(more.get(RESPONSE_LIMIT, self.config.data.max_response_length))
        result["reward_extra_info"]["truncated"] = float(num_tokens >= limit)
        return result
