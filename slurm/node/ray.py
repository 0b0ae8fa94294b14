"""Runs Ray on one node of a job, as a child of the node's task.

A daemon would outlive its job on clusters that track processes by their parents. The kit chooses the ports, because
Ray's defaults are shared with every other user of a node.
"""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

from deepscaler.fabric import socket_variables
from deepscaler.system import processes
from deepscaler.system.addresses import address_of, interface_of
from deepscaler.system.files import remove_tree
from deepscaler.system.paths import LONGEST_RAY_FOLDER, REFUSED_BY_VERL, ray_cpus
from slurm.node.network import PortBlock
from slurm.node.scratch import ray_folder, use_scratch

if TYPE_CHECKING:
    from slurm.node.node import Node

IGNORED = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
"""SLURM sends its warnings to every process of a job; Ray has to outlive them until the command has saved."""


@dataclass(slots=True, kw_only=True)
class RayNode:
    """A raylet, and on the head the GCS, in a guardian that leaves nothing of them behind (see ray_start)."""

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
        """Starts the GCS and this node's raylet; returns the cluster's address, which does not answer yet."""
        ports = self.ports.free()
        port = next(ports)
        self._start("head", {"gcs_server_port": port, "no_monitor": True, "include_dashboard": False}, ports)
        return f"{self.address}:{port}"

    def start_worker(self, head: str) -> None:
        """Starts a raylet that joins the cluster."""
        self._start("worker", {"gcs_address": head}, self.ports.free())

    def ended(self) -> int | None:
        """Returns the exit code; None while it runs."""
        return self.process.poll() if self.process else None

    def stop(self) -> None:
        """Ends Ray and whatever it started, and removes its folder."""
        if self.process:
            processes.kill(self.process)  # there is nothing to save in it, and SLURM may kill this task in seconds
        self.remove_folders()

    def remove_folders(self) -> None:
        """Removes Ray's folder, and those that earlier starts of the job left here because SLURM killed them."""
        # On the node's own disk, which SLURM cleans only where a site's epilog does.
        job = self.temp_dir.name.rpartition("-")[0]
        for folder in self.temp_dir.parent.glob(f"{job}-*"):
            remove_tree(folder)

    def environment(self) -> dict[str, str]:
        """Returns the environment without variables for another Ray, and without AMD's, which SLURM always sets."""
        dropped = ("RAY_", *REFUSED_BY_VERL)
        # A RAY_ADDRESS from the submitting shell would make the raylet join somebody else's cluster.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        interface = interface_of(self.address)  # gloo would take what the node's own name means to it: often a loopback
        sockets = socket_variables(interface) if interface else {}
        # Python's managers, which read data for verl, have sockets below the temporary folder, too.
        short = {"TMPDIR": str(self.temp_dir)} if len(os.fsencode(gettempdir())) > LONGEST_RAY_FOLDER else {}
        return {
            **sockets,
            **inherited,
            **short,
            # A token file in HOME turns authentication on for the head alone, and its workers die: Ray 2.60
            # gets mode and path on every process.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_path),
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # with the GCS gone a raylet would drain for 30 s
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_agent_register_timeout_ms": str(int(1000 * self.start_seconds)),
            "RAY_prestart_worker_first_driver": "0",  # as many idle workers as CPUs: a minute of a small machine
        }

    def _start(self, role: str, fields: dict[str, Any], ports: Iterator[int]) -> None:
        self.remove_folders()
        with suppress(OSError):
            self.temp_dir.mkdir(parents=True, exist_ok=True)
        first, last = self.ports.workers
        fields |= {
            f"{service}_port": next(ports) for service in ("node_manager", "object_manager", "runtime_env_agent")
        }
        fields |= {"min_worker_port": first, "max_worker_port": last, "temp_dir": str(self.temp_dir)}
        fields |= {"node_ip_address": self.address, "node_name": self.name}
        fields |= {"num_gpus": self.num_gpus, "num_cpus": ray_cpus(self.num_gpus)}
        if self.object_store_gb:
            fields["object_store_memory"] = int(self.object_store_gb * 1e9)
        command = processes.python_command("-m", "slurm.node.ray_start", role, json.dumps(fields))
        environment = self.environment()
        self.process = processes.start(command, log=self.log, environment=environment, ignored_signals=IGNORED)


def ray_node(node: "Node") -> RayNode:
    """Returns this node's Ray, not yet started."""
    address = address_of(node.name, node.task.network_interface, alone=len(node.names) == 1)
    return RayNode(
        name=node.name,
        address=address,
        ports=PortBlock(node.raw_job_id, address),
        num_gpus=node.task.num_gpus,
        temp_dir=ray_folder(node, use_scratch(node)),
        log=node.attempt.log_path(f"{node.name}.ray"),
        token_path=node.attempt.token_path,
        object_store_gb=node.task.object_store_gb,
        start_seconds=node.task.join_seconds,
    )
