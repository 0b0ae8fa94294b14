"""A RayJob without Kubernetes: Ray started as KubeRay starts it, the command posted as the operator posts it."""

import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.folder import RunFolder
from tests.integration.processes import DEADLINE, free_port, wait_until_gone
from tests.places import ROOT

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("training")]

SMALL = ("train_batch_size=2", "mini_batch_size=2", "group_size=4", "max_response_length=8", "validate_every=100")


class Head:
    """The head of a Ray cluster, by the operator's requests."""

    def __init__(self, port: int, token: str) -> None:
        self.dashboard, self.token = f"127.0.0.1:{port}", token

    def call(self, path: str, data: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json", "x-ray-authorization": f"Bearer {self.token}"}
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"http://{self.dashboard}/api/jobs/{path}", data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.loads(reply.read())

    def submit(self, name: str, entrypoint: str) -> None:
        assert self.call("", {"entrypoint": entrypoint, "submission_id": name})["submission_id"] == name

    def wait(self, name: str) -> tuple[str, str]:
        """The final status, and the driver's log."""
        deadline = time.monotonic() + DEADLINE
        while (status := self.call(name)["status"]) in ("PENDING", "RUNNING"):
            assert time.monotonic() < deadline
            time.sleep(1)
        return status, self.call(f"{name}/logs")["logs"]

    def wait_for_first_step(self, name: str, run: RunFolder) -> None:
        deadline = time.monotonic() + DEADLINE
        while not (run.attempt(1).metrics_path.is_file() and len(run.attempt(1).metrics_path.read_text()) > 0):
            assert self.call(name)["status"] in ("PENDING", "RUNNING"), self.call(f"{name}/logs")["logs"]
            assert time.monotonic() < deadline
            time.sleep(0.5)

    def drain(self, name: str, *folder: str) -> list[str]:
        """What the operator has seen, every 3 s, when the head's preStop hook ends and the kubelet signals Ray."""
        command = [sys.executable, "-m", "deepscaler", "k8s", "stop", *folder, "--head", "--grace", str(DEADLINE)]
        environment = {**os.environ, "RAY_AUTH_TOKEN": self.token, "RAY_CLUSTER_NAME": "train-abcde"}
        hook, seen = subprocess.Popen([*command, "--dashboard", self.dashboard], env=environment), []
        while hook.poll() is None:
            seen.append(self.call(name)["status"])
            time.sleep(3)
        assert hook.returncode == 0
        return seen


@contextmanager
def head(folder: Path) -> Iterator[Head]:
    """What KubeRay makes of the quickstart's head: `/bin/bash -c -- 'ulimit ...; ray start --head ... --block'`."""
    tree = yaml.safe_load((ROOT / "k8s/jobs/quickstart/rayjob.yaml").read_text())
    ports = [free_port() for _ in range(5)]
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "metrics-export-port", "ray-client-server-port")
    token = secrets.token_hex(16)
    environment = {
        **os.environ,
        **_environment(tree),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_ADDRESS": f"127.0.0.1:{ports[0]}",
        "RAY_JOB_STOP_WAIT_TIME_S": "300",
    }
    with tempfile.TemporaryDirectory(prefix="ray-") as ray_dir, (folder / "ray.log").open("wb") as log:
        params = tree["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]
        params |= {**dict(zip(names, map(str, ports), strict=True)), "temp-dir": ray_dir, "dashboard-host": "127.0.0.1"}
        start = " ".join(["ray start --head", *(f"--{name}={value}" for name, value in params.items()), "--block"])
        command = ["/bin/bash", "-c", "--", f"ulimit -n 65536; {start}"]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_healthy(ports[2], process, folder / "ray.log")
            yield Head(ports[1], token)
        finally:
            process.send_signal(signal.SIGTERM)  # to PID 1 of the container, which has to be Ray by then
            process.wait(60)


def _environment(tree: dict[str, Any]) -> dict[str, str]:
    container = tree["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    return {variable["name"]: variable["value"] for variable in container["env"]}


def _wait_until_healthy(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """As the kubelet asks, without a token."""
    deadline = time.monotonic() + DEADLINE
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/healthz", timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(1)


def entrypoint(run: RunFolder, model: Path, num_steps: int) -> str:
    settings = (*SMALL, f"model={model}", f"num_steps={num_steps}", "save_every=1000")
    options = [part for setting in settings for part in ("--set", setting)]
    return "exec " + shlex.join(
        ["deepscaler", "train", "quickstart", "--device", "cpu", "--output-dir", str(run.root), *options]
    )


def test_a_rayjob_that_is_deleted_saves_and_a_retry_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "it's a run")
    with head(tmp_path) as ray:
        ray.submit("train-abcde", entrypoint(run, tiny_model, 500))
        ray.wait_for_first_step("train-abcde", run)
        ray.call("train-abcde/stop", {})  # the operator's answer to a deletion: SIGTERM to every process of the job
        status, log = ray.wait("train-abcde")
        assert status == "STOPPED", log
        [checkpoint] = sealed(run)
        assert f"Stopped: step {checkpoint.step} of 500 is saved" in log
        assert run.attempt(1).read_record()["outcome"] == "stopped"

        ray.submit("train-fghij", entrypoint(run, tiny_model, checkpoint.step + 1))
        status, log = ray.wait("train-fghij")
        assert status == "SUCCEEDED", log
        assert f"Resuming from the checkpoint of step {checkpoint.step}." in log
    wait_until_gone(run.root, 120)


def test_the_operator_sees_how_a_drained_head_ends(tiny_model: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with head(tmp_path) as ray:
        ray.submit("train-abcde", entrypoint(run, tiny_model, 500))
        ray.wait_for_first_step("train-abcde", run)
        run.attempt(1).update_record(host="train-abcde-head-x1y2z")  # this machine's name is none of KubeRay's
        seen = ray.drain("train-abcde", str(run.root))
        assert seen[0] == "RUNNING"
        assert seen.count("FAILED") >= 3, seen
        assert run.attempt(1).read_record()["outcome"] == "stopped"
        [_] = sealed(run)

        # what is no training, or between two of them, is ended; the shell that a chain's gate needs stays until then
        name = f"evaluate-{secrets.token_hex(3)}"
        ray.submit(name, "trap true TERM; sleep 600 || test $? -eq 3")
        seen = ray.drain(name, str(run.root))
        assert seen.count("FAILED") >= 3, seen
        assert ray.call(name)["driver_exit_code"] == 1

        began = time.monotonic()
        ray.drain(name)  # the cluster of a job that ended a while ago is deleted: nobody has to wait
        assert time.monotonic() - began < 20
    wait_until_gone(run.root, 120)
