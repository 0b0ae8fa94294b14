"""A real Ray tells an actor that was killed from one that was ended, and names its own GCS once that is killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from deepscaler.system.files import read_json
from deepscaler.system.processes import python_command
from deepscaler.training.stalls.ray_states import gone
from tests.integration.processes import ray_cluster, started

pytestmark = pytest.mark.slow

ACTORS = """
import os, time, ray

@ray.remote(num_cpus=0)
class SimpleStorageUnit:
    def pid(self):
        return os.getpid()

ray.init(logging_level="error")
ended, killed = SimpleStorageUnit.options(name="ended").remote(), SimpleStorageUnit.options(name="killed").remote()
pids = ray.get([ended.pid.remote(), killed.pid.remote()])
ray.kill(ended)
print(pids[1], flush=True)
time.sleep(600)
"""


def ask(folder: Path, environment: dict[str, str]) -> list[str]:
    """Returns what is gone, as the watcher asks for it: in a process of its own."""
    file = folder / "ray.json"
    command = python_command("-m", "deepscaler.training.stalls.ray_states", environment["RAY_ADDRESS"], str(file))
    subprocess.run(command, env={**os.environ, **environment}, check=True, timeout=240)
    return gone(read_json(file))


def wait_for_death(folder: Path, environment: dict[str, str]) -> list[str]:
    """Returns what is gone once Ray has noticed that something is."""
    deadline = time.monotonic() + 300
    while not (told := ask(folder, environment)):
        assert time.monotonic() < deadline
    return told


def wait_for(address: str) -> None:
    """Waits until the GCS takes connections."""
    host, _, port = address.rpartition(":")
    for _ in range(600):
        with suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens at {address}")


def gcs_of(address: str) -> int:
    """Returns the GCS that listens at an address."""
    port = f"--gcs_server_port={address.rpartition(':')[2]}"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = path.read_bytes()
            if port.encode() in command.split(b"\0") and b"gcs_server" in command:
                return int(path.parent.name)
    raise AssertionError(f"no gcs_server with {port}")


def test_ray_tells_a_killed_actor_from_an_ended_one_and_a_killed_gcs_from_a_stopped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ray_cluster(tmp_path, 1) as environment:
        wait_for(environment["RAY_ADDRESS"])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with started([sys.executable, "-c", ACTORS]) as driver:
            assert driver.stdout
            pid = next(int(line) for line in driver.stdout if line.strip().isdigit())  # Ray prints warnings, too
            assert ask(tmp_path, environment) == []
            os.kill(pid, signal.SIGKILL)
            [told] = wait_for_death(tmp_path, environment)
            assert re.fullmatch(rf"the transfer queue's storage killed on [0-9.]+ \(pid {pid}\)", told)
            gcs = gcs_of(environment["RAY_ADDRESS"])
            os.kill(gcs, signal.SIGSTOP)
            assert ask(tmp_path, environment) == []
            os.kill(gcs, signal.SIGKILL)
            assert wait_for_death(tmp_path, environment) == [f"Ray's GCS at {environment['RAY_ADDRESS']}"]
