"""Implements a rollout on plain transformers: one server (a Ray actor) per rank, which verl feeds with weights.

rollout.name=transformers
"""

import os
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from verl.workers.rollout import base
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry
from verl.workers.rollout.utils import ensure_async_iterator

from deepscaler.verl_plugin.cpu.server import RolloutServer

NAME = "transformers"


def register() -> None:
    """Registers this rollout with verl, which keeps classes for the trainer's side in a private dictionary."""
    RolloutReplicaRegistry.register(NAME, lambda: TransformersReplica)
    base._ROLLOUT_REGISTRY[NAME, "async"] = f"{__name__}.{TransformersRollout.__name__}"


def server_name(rank: int) -> str:
    """Returns the name of a rank's server among Ray's actors."""
    return f"{NAME}_server_{rank}"


class TransformersReplica(RolloutReplica):  # type: ignore[misc]
    """Starts one server on the machine of its rank."""

    async def launch_servers(self) -> None:
        """Waits until the server has loaded its model."""
        # The rank's machine, because weights go from one to the other through that machine's shared memory.
        node_id = await self.workers[0].__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id())
        server = RolloutServer.options(  # type: ignore[attr-defined]
            name=server_name(self.replica_rank),
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node_id, soft=False),
            max_concurrency=self.max_concurrency,
            # By default an actor needs a free CPU of Ray's to be placed, and verl's actors may hold all of them.
            num_cpus=0,
        ).remote(self.model_config["path"], self.config.response_length, self.config.max_num_seqs)
        await server.ready.remote()
        self.servers = [server]
        self._server_handle, self._server_address = server, server_name(self.replica_rank)


class TransformersRollout(base.BaseRollout):  # type: ignore[misc]
    """The trainer's side: hands weights to its rank's server."""

    async def resume(self, tags: list[str]) -> None:
        """Does nothing: the server never sleeps."""

    async def release(self) -> None:
        """Does nothing: the server never sleeps."""

    async def update_weights(
        self, weights: Any, wire_format: str = "named_tensors", *, global_steps: int | None = None, **_: Any
    ) -> None:
        """Sends all weights at once, through Ray's shared memory."""
        assert wire_format == "named_tensors", wire_format
        arrays = await _to_arrays(ensure_async_iterator(weights))
        server = ray.get_actor(server_name(int(os.environ["RANK"])))
        await server.load_weights.remote(ray.put(arrays), global_steps)


async def _to_arrays(weights: AsyncIterator[tuple[str, Any]]) -> dict[str, npt.NDArray[np.float32]]:
    # numpy has no bfloat16, and Ray hands arrays to another process without copying them.
    return {name: tensor.detach().float().numpy() async for name, tensor in weights}
