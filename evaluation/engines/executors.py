"""Starts engines on the Ray cluster at RAY_ADDRESS or on this machine. Only this module of `evaluation` imports Ray.

Either way an engine is a command below a guardian (`deepscaler.system.processes`). The guardian kills every descendant
when the command ends, and when the task or process that started it is killed. Ray only finds a machine and GPUs.
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
"""Seconds that an engine has to end by itself."""
JOIN_DEADLINE = 300.0
"""Seconds that the machines of a cluster have to join it."""


class Process(Protocol):
    """Controls an engine that was started."""

    reason: str
    """Why the engine was lost, if it ended without an exit code of its own."""

    def poll(self) -> int | None:
        """Returns the exit code, or None while the engine runs or waits for a machine."""

    def stop(self) -> None:
        """Asks the engine to end, and returns at once."""

    def kill(self) -> None:
        """Ends the engine."""


class Place(Protocol):
    """Starts engines."""

    name: str

    def start(self, index: int, arguments: list[str], log: Path) -> Process:
        """Starts `deepscaler` with these arguments as soon as there is room, and appends its output to a file."""


@contextmanager
def open_place(config: EvaluationConfig, num_engines: int, console: Console) -> Iterator[Place]:
    """Joins the cluster, or counts this machine's GPUs. Raises UserError if there is no room for all engines."""
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
    """Gives each engine its own GPUs, or its share of the cores."""

    name = "this machine"

    def __init__(self, config: EvaluationConfig, num_engines: int) -> None:
        self._size = config.tensor_parallel_size
        self._threads = max(1, len(os.sched_getaffinity(0)) // num_engines)
        self._gpus = _gpus() if config.device == "cuda" else None
        needed = num_engines * self._size
        if self._gpus is not None and len(self._gpus) < needed:
            raise UserError(
                f"{num_engines} engines need {needed} GPUs, but this machine offers {len(self._gpus)}: give fewer"
                " --engines, set RAY_ADDRESS to a cluster's address, or give --device cpu if there is no GPU"
            )

    def start(self, index: int, arguments: list[str], log: Path) -> Process:
        """Starts the engine now."""
        command = processes.deepscaler_command(arguments)
        return _Child(processes.start(command, log=log, environment=self.environment(index)))

    def environment(self, index: int) -> dict[str, str]:
        """Returns an engine's environment, with the GPUs or threads that are its own."""
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
    """Runs each engine as a Ray task, spread over the machines; Ray assigns the GPUs."""

    def __init__(self, ray: Any, address: str, config: EvaluationConfig, num_engines: int, console: Console) -> None:
        self.name = f"the Ray cluster at {address}"
        self._ray = ray
        self._on_gpu = config.device == "cuda"
        kind, each = ("GPU", config.tensor_parallel_size) if self._on_gpu else ("CPU", 1)
        self._wait_for(kind, num_engines * each, num_engines, console)
        num_nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        self._per_node = -(-num_engines // max(num_nodes, 1))
        # A GPU engine requests no CPU: it uses what it needs anyway, and nodes may offer Ray only a few.
        room = {"num_gpus": each, "num_cpus": 0} if self._on_gpu else {"num_gpus": 0, "num_cpus": each}
        # No retries by Ray: whether a start was in vain is decided by what it has drawn (shard_run). And no
        # worker twice: what a canceled task has left in a process would be the next engine's.
        self._task = ray.remote(max_retries=0, max_calls=1)(draw_shard).options(scheduling_strategy="SPREAD", **room)

    def start(self, index: int, arguments: list[str], log: Path) -> Process:
        """Submits the engine to Ray."""
        del index
        threads = os.environ.get("OMP_NUM_THREADS")
        return _Task(self._ray, self._task.remote(arguments, str(log), threads, 0 if self._on_gpu else self._per_node))

    def _wait_for(self, kind: str, needed: int, num_engines: int, console: Console) -> None:
        deadline = time.monotonic() + JOIN_DEADLINE
        told = -1
        while (there := int(self._ray.cluster_resources().get(kind, 0))) < needed:
            if time.monotonic() > deadline:
                raise UserError(
                    f"{num_engines} engines need {needed} {kind}s, but {self.name} has {there}: give fewer --engines"
                    + (", or --device cpu if there is no GPU" if kind == "GPU" else "")
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
            return KILLED  # its machine or its Ray worker is gone, so the engine left no exit code

    def stop(self) -> None:
        self.ray.cancel(self.reference)

    def kill(self) -> None:
        # Ray kills its worker, whose guardian then kills the engine.
        self.ray.cancel(self.reference, force=True)


def draw_shard(arguments: list[str], log: str, threads: str | None, per_node: int) -> int:
    """Runs an engine on this node as a Ray task and returns its exit code. Nothing survives its end or cancellation.

    `per_node` CPU engines share the node's cores; with 0 the engine uses the GPUs that Ray assigned.
    """
    share = max(1, len(os.sched_getaffinity(0)) // per_node) if per_node else None
    environment = _environment(threads, share, "" if per_node else _gpus_of_task())
    process = processes.start(processes.deepscaler_command(arguments), log=Path(log), environment=environment)
    try:
        while (code := process.poll()) is None:
            time.sleep(0.2)  # Ray's cancellation interrupts a sleep, but not Popen.wait()
        return code
    finally:
        processes.end(process, PATIENCE)


def _gpus_of_task() -> str:
    """Returns the task's GPUs from Ray's own context."""
    import ray  # noqa: PLC0415

    # CUDA_VISIBLE_DEVICES does not name them if RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES is set
    return ",".join(ray.get_runtime_context().get_accelerator_ids()["GPU"])


def _environment(threads: str | None, share: int | None, gpus: str) -> dict[str, str]:
    """Returns an engine's environment: its GPUs, the user's number of threads or its share, and no Ray variables."""
    # with RAY_ADDRESS the engine would try to join the cluster itself
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # Empty for an engine on CPUs, which hides all GPUs from it.
    environment["CUDA_VISIBLE_DEVICES"] = gpus
    environment.pop("OMP_NUM_THREADS", None)  # Ray sets it to 1 in its tasks
    if threads or share:
        environment["OMP_NUM_THREADS"] = threads or str(share)
    return environment


def _gpus() -> list[str]:
    """Returns the GPUs of this machine that this process may use."""
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
            " RAY_ADDRESS to run the engines on this machine"
        ) from error
    handler = signal.getsignal(signal.SIGTERM)
    guard = threading.Timer(JOIN_DEADLINE, _give_up, [address])
    guard.daemon = True
    guard.start()
    try:
        # Ray puts the driver's working directory first on its workers' path. Every clone of the original DeepScaleR
        # has a package `deepscaler`, which would hide this one.
        with chdir("/"):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises many types, with texts that may be long but hold no token
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(
            f"cannot join the Ray cluster at RAY_ADDRESS {address} ({reason}): start it, or unset RAY_ADDRESS"
        ) from error
    finally:
        guard.cancel()
        signal.signal(signal.SIGTERM, handler)  # ray.init installs one that exits without ending the engines
    return ray


def _give_up(address: str) -> None:
    """Exits the process, because `ray.init` waits forever for a broken head and ignores exceptions meanwhile."""
    print(
        f"deepscaler: the Ray cluster at RAY_ADDRESS {address} did not respond within {JOIN_DEADLINE:.0f} s: check its"
        " head with `ray status`, then rerun the same command to resume",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)  # safe: no engine has been started, and gathered samples are on disk
