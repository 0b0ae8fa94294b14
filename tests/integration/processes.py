"""Real commands, started, watched and killed."""

import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from deepscaler.system.processes import deepscaler_command

DEADLINE = 1500
"""Seconds for whatever a test waits for."""

SHARING = {
    "OMP_WAIT_POLICY": "passive",  # a thread that spins while its sibling waits for a core: 1 token/s instead of 24
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; by itself an engine takes a quarter of the memory
}
"""Variables for engines beside others on a machine of two cores."""


@contextmanager
def locked(*paths: Path) -> Iterator[None]:
    """Holds one of some locks, whichever is free first; each of them is held by one process at a time."""
    with ExitStack() as stack:
        locks = []
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            locks.append(stack.enter_context(path.open("a")))
        if len(locks) == 1:  # the kernel wakes who waits for it
            fcntl.flock(locks[0], fcntl.LOCK_EX)
        else:
            while not any(map(_take, locks)):
                time.sleep(0.5)
        yield


def _take(lock: IO[str]) -> bool:
    """Returns whether this process has the lock now, without waiting."""
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@contextmanager
def started(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout
        process.stdout.close()


def run(arguments: list[str], seconds: float = DEADLINE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=seconds, check=False)


def deepscaler(*arguments: object) -> list[str]:
    return deepscaler_command([*map(str, arguments)])


def wait_until(holds: Callable[[], object], process: subprocess.Popen[str], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert process.poll() is None, f"ended before {what}: {process.communicate()[0]}"
        assert time.monotonic() < deadline, f"{what}: not after {DEADLINE} s"
        time.sleep(0.01)


def processes_of(root: Path) -> list[str]:
    """Commands of all processes that were started for a run, by their environment, so that none can hide."""
    wanted, found = f"DEEPSCALER_RUN_DIR={root}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:80])
        except OSError:
            continue
    return [command for command in found if command]


def wait_until_gone(root: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := processes_of(root):
        assert time.monotonic() < deadline, f"{seconds} s after the end there are still {left}"
        time.sleep(0.2)


@contextmanager
def ray_cluster(folder: Path, num_nodes: int) -> Iterator[dict[str, str]]:
    """A Ray cluster of some raylets with a pretended GPU each, as a launcher would start it; yields its environment."""
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text("0123456789abcdef" * 4)
    port = free_port()
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_ADDRESS": f"127.0.0.1:{port}"}
    sizes = ["--num-gpus=1", "--num-cpus=20", "--node-ip-address=127.0.0.1", "--object-store-memory=500000000"]
    nodes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="ray-") as ray_dir, (folder / "ray.log").open("wb") as log:
        try:
            for node in range(num_nodes):
                place = ["--address", environment["RAY_ADDRESS"]]
                if node == 0:
                    place = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={ray_dir}"]
                command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *place, *sizes]
                inherited = {**os.environ, **environment}
                del inherited["RAY_ADDRESS"]
                nodes.append(subprocess.Popen(command, env=inherited, stdout=log, stderr=log, start_new_session=True))
                _wait_until_joined(nodes, environment, folder / "ray.log")
            yield environment
        finally:
            for process in reversed(nodes):
                os.killpg(process.pid, signal.SIGTERM)
            for process in nodes:
                process.wait(DEADLINE)


NUM_ALIVE = "import os, ray; ray.init(logging_level='error'); print(sum(node['Alive'] for node in ray.nodes()))"


def _wait_until_joined(nodes: list[subprocess.Popen[bytes]], environment: dict[str, str], log: Path) -> None:
    """Waits until Ray counts as many nodes as were started: on a busy machine that takes a minute."""
    deadline = time.monotonic() + DEADLINE
    while True:
        done = subprocess.run(
            [sys.executable, "-P", "-c", NUM_ALIVE],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.stdout.split()[-1:] == [str(len(nodes))]:
            return
        assert all(node.poll() is None for node in nodes), log.read_text()
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.5)


def free_port() -> int:
    """Returns a port below those that the kernel gives to whoever asks, so that nobody else gets it meanwhile."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")
