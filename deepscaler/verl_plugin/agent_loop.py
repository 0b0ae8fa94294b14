"""Extends verl's loop of one turn by seeds, a token limit for validation, and responses that no loss looks at.

A response's seed follows from the run's seed, the step, the problem and the number of the sample, as an evaluation's
does: it stays the same whatever else is drawn, after a resume, too. An asynchronous training gives none: an engine that
draws the rest of a response after an update would begin its random numbers again.

The mask is what DAPO calls overlong filtering (arXiv 2503.14476, section 3.4). verl 0.9.1 has no option for it, but its
agent loop says of each token whether it counts. Scores, group means, validation and logged lengths do not read that
mask.

rollout.custom  {"training_length": 8192, "validation_length": 32768, "mask_truncated": true, "seeded": true,
                 "step_offset": 0, "num_servers": 0}
"""

from functools import cache
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from deepscaler.runs.moments import note
from deepscaler.verl_plugin.beats import doing
from deepscaler.verl_plugin.cpu import turn
from deepscaler.verl_plugin.dispatch import FIELD, Dispatched, problem_id
from deepscaler.verl_plugin.overrides import RESPONSE_LIMIT, VALIDATION_TOP_K
from evaluation.requests import derive_seed


@cache
def _note_first() -> None:
    note("rollout begins")


class BoundedAgentLoop(SingleTurnAgentLoop):  # type: ignore[misc]
    """Asks for as many tokens as training or validation allows, which verl knows one bound for, by a seed."""

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        """Draws one response; all of its tokens are out of the loss if it was cut off and the recipe says so."""
        _note_first()
        settings = self.rollout_config.custom
        validates = sampling_params["top_k"] == VALIDATION_TOP_K
        limit = int(settings["validation_length" if validates else "training_length"])
        asked = {**sampling_params, "max_tokens": limit}
        if settings["seeded"]:
            asked |= self._seeded(validates, **kwargs)
        # The only sign of a response that an engine never returns: vLLM's servers are verl's own and say nothing.
        with doing("prompt"):
            output = await super().run(asked, **kwargs, **self._numbered(validates, **kwargs))
        output.extra_fields[RESPONSE_LIMIT] = limit
        if settings["mask_truncated"] and not validates and len(output.response_ids) >= limit:
            output.response_mask = [0] * len(output.response_mask)
        return output

    def _numbered(self, validates: bool, *, session_id: int, **prompt: Any) -> dict[str, int]:
        """Returns the number by which verl names a request and chooses its engine, where it is to be deterministic.

        verl 0.9.1's V1 trainer numbers none: all requests would have one name and go to one engine.
        """
        if not self.rollout_config.full_determinism:
            return {}
        # Unique in a step: verl names a request `det-{priority}` (single_turn_agent_loop.py), and routes by the name.
        return {"priority": Dispatched(**prompt[FIELD]).place * self._group_size(validates) + session_id}

    def _group_size(self, validates: bool) -> int:
        return int(self.rollout_config.val_kwargs.n if validates else self.rollout_config.n)

    def _seeded(self, validates: bool, *, global_steps: int, session_id: int, **prompt: Any) -> dict[str, Any]:
        """Returns a request's seed, and its turn where the kit's servers on CPUs draw.

        Samples of a problem that a step asks twice are numbered on, so that they differ.
        """
        rollout, settings = self.rollout_config, self.rollout_config.custom
        group_size = self._group_size(validates)
        step = f"{'validation' if validates else 'train'}/{settings['step_offset'] + int(global_steps)}"
        sent = Dispatched(**prompt[FIELD])
        sample = session_id + group_size * sent.occurrence
        asked: dict[str, Any] = {
            "seed": derive_seed(rollout.seed, f"{step}/{problem_id(prompt['extra_info'])}", sample)
        }
        if num_servers := int(settings["num_servers"]):
            # Among the sampling parameters, because verl's client hands these to the router and to the server alike.
            asked[turn.KEY] = turn.turn_of(sent, step, session_id, group_size, num_servers)
        return asked
