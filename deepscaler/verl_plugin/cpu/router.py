"""Sends each request to the server that its turn names; verl's own choice depends on what has ended by then.

router_config_path: router.yaml
"""

from typing import Any

from verl.workers.rollout.router import GlobalRequestLoadBalancer

from deepscaler.verl_plugin.cpu.turn import KEY


class TurnRouter(GlobalRequestLoadBalancer):  # type: ignore[misc]
    """verl's balancer for requests without a turn, which asynchronous trainings send."""

    def __init__(self, servers: dict[str, Any], _settings: dict[str, Any]) -> None:
        super().__init__(servers)

    def require_acquire_fields(self) -> list[str]:
        """Returns what verl's client must send with a request."""
        return ["sampling_params"]

    def acquire_server(self, request_id: str, sampling_params: dict[str, Any]) -> tuple[str, Any]:
        """Returns the name and the handle of a request's server."""
        turn = sampling_params.get(KEY)
        if turn is None:
            chosen: tuple[str, Any] = super().acquire_server(request_id)
            return chosen
        name = list(self._servers)[turn.server]
        # verl's client releases the server later, which counts down what the parent's own choice would have counted up.
        self._inflight_requests[name] += 1
        return name, self._servers[name]
