"""Names which requests a rollout server computes together, and in which order.

On a CPU, too, the last digits of a sum depend on the shape of a batch, and with them now and then a token. Requests
arrive in any order; so each says how many its server is to wait for, and where it stands among them.
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # the router and the server would import verl's trainer with it
    from deepscaler.verl_plugin.dispatch import Dispatched

KEY = "turn"
"""Name of the turn among a request's sampling parameters; verl's other servers would refuse it."""


class Turn(NamedTuple):
    """The place of one request."""

    name: str
    server: int
    """Index of the server that draws all responses to its prompt."""
    place: int
    size: int
    """Requests of this turn on that server."""


def turn_of(sent: "Dispatched", step: str, sample: int, group_size: int, num_servers: int) -> Turn:
    """Returns the turn of a sample of a prompt: prompts that were sent together go to the servers one by one."""
    place = sent.place - sent.first
    server = place % num_servers
    prompts_there = len(range(server, sent.num_together, num_servers))
    return Turn(f"{step}/{sent.first}", server, place * group_size + sample, prompts_there * group_size)
