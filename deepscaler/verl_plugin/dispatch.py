"""Numbers the prompts of each step before they are drawn, because they come back in the order in which they end.

Dispatched(place=5, first=4, num_together=2, occurrence=0)   the sixth prompt of its step, of two in a refill

A response's seed, its place in the batch and, on a CPU, the requests that are computed together follow from it. verl
gives a prompt a random identifier only.
"""

from collections import Counter
from typing import Any, NamedTuple

from verl.trainer.ppo.v1 import AgentLoopManagerTQ
from verl.utils.tensordict_utils import assign_non_tensor_stack, unwrap_non_tensor_data

FIELD = "dispatched"
"""Name of the place among the fields of a prompt, and of its responses in verl's queue."""


class Dispatched(NamedTuple):
    """Place of a prompt among those of its step."""

    place: int
    first: int
    """Place of the first prompt that was sent with it."""
    num_together: int
    """Prompts that were sent with it."""
    occurrence: int
    """Number of times that the step had the same problem before: a refill may cross the end of the data."""


class DispatchingManager(AgentLoopManagerTQ):  # type: ignore[misc]
    """verl's manager of agent loops, which numbers what it hands out. It lives in the trainer's process."""

    _turn: tuple[int, bool] | None = None

    def generate_sequences(self, prompts: Any) -> None:
        """Hands prompts to the agent loops, each with its Dispatched."""
        # A refill of the same step counts on; a validation within a step has numbers of its own.
        turn = int(unwrap_non_tensor_data(prompts["global_steps"])), "validate" in prompts
        if turn != self._turn:
            self._turn, self._num_sent, self._asked = turn, 0, Counter[str]()
        numbered = []
        for place, problem in enumerate(map(problem_id, prompts["extra_info"]), start=self._num_sent):
            numbered.append(Dispatched(place, self._num_sent, len(prompts), self._asked[problem])._asdict())
            self._asked[problem] += 1
        self._num_sent += len(prompts)
        assign_non_tensor_stack(prompts, FIELD, numbered)
        super().generate_sequences(prompts)


def problem_id(extra_info: Any) -> str:
    """Returns the id of a problem from its `extra_info`, as verl's loader or its queue gives it."""
    return str(unwrapped(extra_info)["id"])


def unwrapped(value: Any) -> Any:
    """Returns a value as it was put into a tensordict, which wraps what is not a tensor, or does not."""
    return getattr(value, "data", value)
