"""Ray on one node of a job: the command, its environment, and its life as a child of the node's task."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING

from deepscaler.fabric import socket_variables
from deepscaler.system import processes
from deepscaler.system.files import remove_tree
from deepscaler.system.paths import REFUSED_BY_VERL, expanded, ray_cpus
from slurm.node.network import PortBlock, address_of, interface_of

if TYPE_CHECKING:
    from slurm.node.node import Node

IGNORED = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
"""SLURM sends its warnings to every process of a job; Ray has to outlive them until the command has saved."""


@dataclass(slots=True, kw_only=True)
class RayNode:
    """A raylet, and on the head the GCS. `ray start --block` in a guardian that leaves nothing behind."""

    name: str
    address: str
    ports: PortBlock
    num_gpus: int
    temp_dir: Path
    log: Path
    token_path: Path
    object_store_gb: float
    start_seconds: float
    process: Popen[bytes] | None = field(default=None, init=False)

    def start_head(self) -> str:
        """Start the GCS and this node's raylet; returns the cluster's address, which does not answer yet."""
        ports = self.ports.free()
        port = next(ports)
        role = ["--head", f"--port={port}", "--include-dashboard=false", "--no-monitor", f"--temp-dir={self.temp_dir}"]
        self._start(role, ports)
        return f"{self.address}:{port}"

    def start_worker(self, head: str) -> None:
        """Start a raylet that joins."""
        self._start([f"--address={head}"], self.ports.free())

    def ended(self) -> int | None:
        """The code it ended with; None while it runs."""
        return self.process.poll() if self.process else None

    def stop(self) -> None:
        """End it and whatever it started, and remove its folder."""
        if self.process:
            processes.kill(self.process)  # there is nothing to save in it, and SLURM may kill this task in seconds
        remove_tree(self.temp_dir)

    def environment(self) -> dict[str, str]:
        """Without what a login shell may have said about another Ray, and AMD's variables, which SLURM always sets."""
        dropped = ("RAY_", *REFUSED_BY_VERL)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        interface = interface_of(self.address)  # gloo would take what the node's own name means to it: often a loopback
        sockets = socket_variables(interface) if interface else {}
        return {
            **sockets,
            **inherited,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_path),
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # with the GCS gone a raylet would drain for 30 s
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_agent_register_timeout_ms": str(int(1000 * self.start_seconds)),
            "RAY_prestart_worker_first_driver": "0",  # as many idle workers as CPUs: a minute of a small machine
        }

    def _start(self, role: list[str], ports: Iterator[int]) -> None:
        with suppress(OSError):
            self.temp_dir.mkdir(parents=True, exist_ok=True)
        first, last = self.ports.workers
        services = ("node-manager", "object-manager", "runtime-env-agent", "metrics-export")
        options = [f"--{service}-port={next(ports)}" for service in services]
        options += [f"--dashboard-agent-{kind}-port={next(ports)}" for kind in ("listen", "grpc")]
        options += [f"--min-worker-port={first}", f"--max-worker-port={last}"]
        options.append(f"--ray-client-server-port={next(ports)}")  # by default 10001, for everybody's
        options += [f"--node-ip-address={self.address}", f"--node-name={self.name}", "--disable-usage-stats"]
        options += [f"--num-gpus={self.num_gpus}", f"--num-cpus={ray_cpus(self.num_gpus)}"]
        if self.object_store_gb:
            options.append(f"--object-store-memory={int(self.object_store_gb * 1e9)}")
        command = processes.python_command("-m", "slurm.node.ray_start", "--block", *role, *options)
        environment = self.environment()
        self.process = processes.start(command, log=self.log, environment=environment, ignored_signals=IGNORED)


def ray_node(node: "Node") -> RayNode:
    """This node's Ray, not yet started."""
    address = address_of(node.name, node.task.network_interface, alone=len(node.names) == 1)
    return RayNode(
        name=node.name,
        address=address,
        ports=PortBlock(node.raw_job_id, address),
        num_gpus=node.task.num_gpus,
        temp_dir=Path(expanded(node.task.scratch, "scratch")) / f"dsr-{node.raw_job_id}-{node.restart}",
        log=node.attempt.log_path(f"{node.name}.ray"),
        token_path=node.attempt.token_path,
        object_store_gb=node.task.object_store_gb,
        start_seconds=node.task.join_seconds,
    )
