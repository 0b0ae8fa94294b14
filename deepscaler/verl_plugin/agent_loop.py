"""verl's loop of one turn, with a bound of tokens of its own in validation, and with responses that no loss looks at.

DAPO calls it overlong filtering (arXiv 2503.14476, section 3.4). verl 0.9.1 has no option for it, but its agent loop
says of each token whether it counts. Scores, group means, validation and logged lengths do not read that mask.

rollout.custom  {"training_length": 8192, "validation_length": 32768, "mask_truncated": true}
"""

from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from deepscaler.verl_plugin.overrides import RESPONSE_LIMIT, VALIDATION_TOP_K


class BoundedAgentLoop(SingleTurnAgentLoop):  # type: ignore[misc]
    """Asks for as many tokens as training or validation allows; verl knows one bound for both."""

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        """Draws one response; all of its tokens are out of the loss if it was cut off and the recipe says so."""
        settings = self.rollout_config.custom
        validates = sampling_params["top_k"] == VALIDATION_TOP_K
        limit = int(settings["validation_length" if validates else "training_length"])
        output = await super().run({**sampling_params, "max_tokens": limit}, **kwargs)
        output.extra_fields[RESPONSE_LIMIT] = limit
        if settings["mask_truncated"] and not validates and len(output.response_ids) >= limit:
            output.response_mask = [0] * len(output.response_mask)
        return output
