"""verl's agent loop for single answers, which also leaves responses that were cut off out of the loss.

DAPO calls it overlong filtering (arXiv 2503.14476, section 3.4). verl 0.9.1 has no option for it, but its agent loop
says of each token whether it counts: the mask that leaves out a tool's words leaves out a response as well. Scores,
group means, validation and logged lengths stay as they are, because they do not read the mask. `recipe.mask_truncated`
names this class through `agent_loops.yaml`.
"""

from typing import Any

from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop


class MaskTruncated(SingleTurnAgentLoop):  # type: ignore[misc]
    """`single_turn_agent`, without the loss of what reached the limit."""

    async def run(self, sampling_params: dict[str, Any], **more: Any) -> Any:
        """Draws one response."""
        output = await super().run(sampling_params, **more)
        if len(output.response_ids) >= self.response_length:
            output.response_mask = [0] * len(output.response_mask)
        return output
