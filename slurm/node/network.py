"""Chooses the ports of a job on a node, because Ray's defaults are shared with every other user."""

import socket
from collections.abc import Iterator

from deepscaler.system.addresses import ephemeral_ports
from deepscaler.system.errors import UserError

LOWEST_PORT = 11_000  # below are defaults of Ray, which it refuses to see given to something else
BLOCK = 1000
"""Ports a job gets: services first, Ray's workers behind them."""

NUM_SERVICES = 50


class PortBlock:
    """Ports of one job on one node, below those that the kernel gives to outgoing connections.

    Two jobs that share a node have blocks of their own, by their numbers; a port that is taken is passed over.
    """

    def __init__(self, job_id: int, address: str) -> None:
        # Linux begins at 32768, which leaves 21 blocks; on a site that begins below 13000 all jobs share one.
        num_blocks = max(1, (ephemeral_ports()[0] - LOWEST_PORT) // BLOCK)
        self._first = LOWEST_PORT + BLOCK * (job_id % num_blocks)
        self._address = address

    @property
    def workers(self) -> tuple[int, int]:
        """Returns the first and the last port of Ray's workers."""
        return self._first + NUM_SERVICES, self._first + BLOCK - 1

    def free(self) -> Iterator[int]:
        """Yields ports that nobody listens on, from the first. Raises UserError if all are taken."""
        for port in range(self._first, self._first + NUM_SERVICES):
            if _is_free(self._address, port):
                yield port
        raise UserError(f"no free port from {self._first} to {self._first + NUM_SERVICES - 1} on {self._address}")


def answers(address: str, seconds: float) -> bool:
    """Returns whether something listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), seconds):
            return True
    except OSError:
        return False


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as listener:
        # Without it the ports of a start that has just ended count as taken for a minute (TIME_WAIT).
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError:
            return False
        return True
