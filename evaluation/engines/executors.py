"""Where engines run: on the Ray cluster at RAY_ADDRESS, or on this machine. The only place here that imports Ray.

Either way an engine is a command below a guardian (`deepscaler.system.processes`), which kills all that came of it when
the command ends, or when the task or process that started it is killed.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from deepscaler.system import processes
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import KILLED
from evaluation.config import EvaluationConfig

PATIENCE = 10.0
"""Seconds for an engine to end by itself."""
JOIN_DEADLINE = 300.0
"""Seconds for the machines of a cluster to join it."""


class Process(Protocol):
    """A started engine."""

    reason: str
    """Why it is lost, if it ended without a code of its own."""

    def poll(self) -> int | None:
        """Its exit code, None while it is waiting for a machine or at work."""

    def stop(self) -> None:
        """Ask it to end; at once."""

    def kill(self) -> None:
        """End it."""


class Place(Protocol):
    """What starts engines."""

    name: str

    def start(self, index: int, arguments: list[str], log: Path) -> Process:
        """Start `deepscaler` with these arguments as soon as there is room; its output is appended to a file."""


@contextmanager
def open_place(config: EvaluationConfig, num_engines: int, console: Console) -> Iterator[Place]:
    """Join the cluster, or count this machine's GPUs. Raises UserError where so many engines have no room."""
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        yield _ThisMachine(config, num_engines)
        return
    ray = _join(address)
    try:
        yield _Cluster(ray, address, config, num_engines, console)
    finally:
        ray.shutdown()


class _ThisMachine:
    """Each engine has its own GPUs, or its share of the cores."""

    name = "this machine"

    def __init__(self, config: EvaluationConfig, num_engines: int) -> None:
        self._size = config.tensor_parallel_size
        self._threads = max(1, len(os.sched_getaffinity(0)) // num_engines)
        self._gpus = _gpus() if config.device == "cuda" else None
        needed = num_engines * self._size
        if self._gpus is not None and len(self._gpus) < needed:
            raise UserError(
                f"{num_engines} engines need {needed} GPUs, this machine offers {len(self._gpus)}: give fewer"
                " --engines, set RAY_ADDRESS to a cluster's, or --device cpu where there is no GPU"
            )

    def start(self, index: int, arguments: list[str], log: Path) -> Process:
        """Start it now."""
        command = processes.deepscaler_command(arguments)
        return _Child(processes.start(command, log=log, environment=self.environment(index)))

    def environment(self, index: int) -> dict[str, str]:
        """What sets an engine apart from its neighbours."""
        own = (self._gpus or [])[index * self._size : (index + 1) * self._size]
        return _environment(os.environ.get("OMP_NUM_THREADS"), None if own else self._threads, ",".join(own))


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    reason: str = ""

    def poll(self) -> int | None:
        return self.process.poll()

    def stop(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        processes.end(self.process, PATIENCE)


class _Cluster:
    """Each engine is a Ray task, spread over the machines; Ray says which GPUs are its own."""

    def __init__(self, ray: Any, address: str, config: EvaluationConfig, num_engines: int, console: Console) -> None:
        self.name = f"the Ray cluster at {address}"
        self._ray = ray
        self._on_gpu = config.device == "cuda"
        kind, each = ("GPU", config.tensor_parallel_size) if self._on_gpu else ("CPU", 1)
        self._wait_for(kind, num_engines * each, num_engines, console)
        num_nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        self._per_node = -(-num_engines // max(num_nodes, 1))
        # no processor is asked for beside a GPU: an engine takes what it needs, and nodes may offer few of them
        room = {"num_gpus": each, "num_cpus": 0} if self._on_gpu else {"num_gpus": 0, "num_cpus": each}
        self._task = ray.remote(max_retries=0, max_calls=1)(draw_shard).options(scheduling_strategy="SPREAD", **room)

    def start(self, index: int, arguments: list[str], log: Path) -> Process:
        """Hand it to Ray."""
        del index
        threads = os.environ.get("OMP_NUM_THREADS")
        return _Task(self._ray, self._task.remote(arguments, str(log), threads, 0 if self._on_gpu else self._per_node))

    def _wait_for(self, kind: str, needed: int, num_engines: int, console: Console) -> None:
        deadline = time.monotonic() + JOIN_DEADLINE
        told = -1
        while (there := int(self._ray.cluster_resources().get(kind, 0))) < needed:
            if time.monotonic() > deadline:
                raise UserError(
                    f"{num_engines} engines need {needed} {kind}s, {self.name} has {there}: give fewer --engines"
                    + (", or --device cpu where there is no GPU" if kind == "GPU" else "")
                )
            if there != told:
                console.print(f"Waiting up to {JOIN_DEADLINE:.0f} s for {needed} {kind}s; {there} have joined.")
                told = there
            time.sleep(1)


@dataclass(slots=True)
class _Task:
    ray: Any
    reference: Any
    reason: str = ""

    def poll(self) -> int | None:
        if not self.ray.wait([self.reference], timeout=0)[0]:
            return None
        try:
            return int(self.ray.get(self.reference))
        except self.ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [""]
            self.reason = f"was lost ({type(error).__name__}: {lines[-1].strip()[:200]})"
            return KILLED  # its machine or Ray worker is gone

    def stop(self) -> None:
        self.ray.cancel(self.reference)

    def kill(self) -> None:
        self.ray.cancel(self.reference, force=True)


def draw_shard(arguments: list[str], log: str, threads: str | None, per_node: int) -> int:
    """The task: an engine on this node, at whose end or cancellation nothing is left. Returns its exit code.

    `per_node` engines share the node's cores, where they draw on them; with 0 they draw on the GPUs that Ray gives.
    """
    share = max(1, len(os.sched_getaffinity(0)) // per_node) if per_node else None
    environment = _environment(threads, share, "" if per_node else _gpus_of_task())
    process = processes.start(processes.deepscaler_command(arguments), log=Path(log), environment=environment)
    try:
        while (code := process.poll()) is None:
            time.sleep(0.2)  # a cancellation interrupts this, but no wait for a process
        return code
    finally:
        processes.end(process, PATIENCE)


def _gpus_of_task() -> str:
    """As Ray tells them: under RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES the environment does not."""
    import ray  # noqa: PLC0415

    return ",".join(ray.get_runtime_context().get_accelerator_ids()["GPU"])


def _environment(threads: str | None, share: int | None, gpus: str) -> dict[str, str]:
    """An engine's: nothing of Ray's (it joins no cluster), its GPUs, the user's number of threads or its share."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["CUDA_VISIBLE_DEVICES"] = gpus
    environment.pop("OMP_NUM_THREADS", None)  # Ray sets it to 1
    if threads or share:
        environment["OMP_NUM_THREADS"] = threads or str(share)
    return environment


def _gpus() -> list[str]:
    """Of this machine that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu.strip()]
    with suppress(ImportError):
        import torch  # noqa: PLC0415

        return list(map(str, range(torch.cuda.device_count())))
    return []


def _join(address: str) -> Any:
    try:
        import ray  # noqa: PLC0415
    except ImportError as error:
        raise UserError(
            f"RAY_ADDRESS is {address}, but ray cannot be imported ({error}): install the `eval` extra, or unset"
            " RAY_ADDRESS for engines on this machine"
        ) from error
    handler = signal.getsignal(signal.SIGTERM)
    guard = threading.Timer(JOIN_DEADLINE, _give_up, [address])
    guard.daemon = True
    guard.start()
    try:
        with chdir("/"):  # Ray puts the driver's working directory first on the path of its workers
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises anything; its text may be long, and holds no token
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(f"cannot join the Ray cluster at RAY_ADDRESS {address}: {reason}") from error
    finally:
        guard.cancel()
        signal.signal(signal.SIGTERM, handler)  # Ray's own would exit without ending the engines
    return ray


def _give_up(address: str) -> None:
    """Ray waits without an end, and deaf to exceptions, for a cluster whose head has not come up whole."""
    print(
        f"deepscaler: the Ray cluster at RAY_ADDRESS {address} let nobody join in {JOIN_DEADLINE:.0f} s: is its head"
        " well (ray status)? The same command goes on",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)  # nothing has been started, and what is gathered is on disk
