"""How a head waits for the end of Ray's job; tests/integration/test_rayjob.py asks a real Ray."""

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.kubernetes.pod import ray_job
from deepscaler.runs.fence import alive
from deepscaler.runs.folder import RunFolder
from deepscaler.system.errors import UserError

NAME = f"train-8k-{os.getpid()}"
"""Of a job; unique, because every process of this machine is looked at."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_job, "POLL", 0.05)
    monkeypatch.setattr(ray_job, "SEEN", 1.0)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret")


class Dashboard(HTTPServer):
    """Answers as Ray's dashboard does, with a token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.jobs: Any = []
        self.num_asked = 0

    def job(self, status: str, ended: float | None = None) -> None:
        milliseconds = None if ended is None else int(ended * 1000)
        driver = {"type": "DRIVER", "submission_id": None, "status": "RUNNING", "end_time": None}
        self.jobs = [{"submission_id": NAME, "status": status, "end_time": milliseconds}, driver]


class Answer(BaseHTTPRequestHandler):
    server: Dashboard

    def do_GET(self) -> None:
        self.server.num_asked += 1
        allowed = self.headers["x-ray-authorization"] == "Bearer s3cret" and self.path == "/api/jobs/"
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(json.dumps(self.server.jobs if allowed else "no").encode())

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def dashboard() -> Iterator[tuple[Dashboard, str]]:
    server = Dashboard()
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server, f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


NEVER = 3600.0
"""Seconds that no test waits for."""


def seconds(address: str, patience: float, *, is_ending: bool = True) -> float:
    """How long a head stays."""
    began = time.monotonic()
    ray_job.see_off(address, began + patience, print, is_ending=is_ending)
    return time.monotonic() - began


def said(address: str) -> list[str]:
    """Returns what a head says that has all the time in the world: nothing, unless it waits for the operator."""
    lines: list[str] = []
    ray_job.see_off(address, time.monotonic() + NEVER, lines.append, is_ending=True)
    return lines


@contextmanager
def command(script: str) -> Iterator["subprocess.Popen[bytes]"]:
    """What Ray starts for a job: a shell in a session of its own, with the job in its environment."""
    config = {"runtime_env": {}, "metadata": {"job_submission_id": NAME}}
    environment = {**os.environ, "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(config)}
    process = subprocess.Popen(script, shell=True, env=environment, start_new_session=True)
    try:
        while "sleep" not in {ray_job._name(pid) for pid in ray_job.commands([NAME])}:
            time.sleep(0.02)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        while ray_job.commands([NAME]):  # the next test's command has this name, too
            time.sleep(0.02)


def test_a_head_stays_until_the_operator_has_seen_the_end() -> None:
    with dashboard() as (server, address):
        ended = time.time()
        server.job("FAILED", ended)
        assert said(address)[0] == f"Ray's job {NAME} is FAILED."
        assert time.time() > ended + ray_job.SEEN - 0.01, "Ray tells milliseconds"
        server.job("FAILED", time.time() - 60)  # its cluster is deleted by the operator, which knows
        assert said(address) == [f"Ray's job {NAME} is FAILED."]
        server.jobs = []  # nothing was posted
        assert said(address) == []


def test_a_head_stays_no_longer_than_its_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_job, "SEEN", NEVER)
    with dashboard() as (server, address):
        server.job("RUNNING")
        assert seconds(address, 1) >= 1
        assert server.num_asked > 1
        server.job("FAILED", time.time())
        seconds(address, 0.3)


def test_a_head_does_not_wait_for_a_dashboard_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_job, "SILENCE", 0.5)
    with dashboard() as (_, address):
        pass
    assert seconds(address, NEVER) >= 0.5
    with dashboard() as (server, address):
        server.job("RUNNING")
        monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
        assert seconds(address, NEVER) >= 0.5


@contextmanager
def staying(server: Dashboard, address: str, *, is_ending: bool, patience: float = NEVER) -> Iterator[None]:
    """A head that stays beside the block, and until its job has ended after it."""
    thread = Thread(target=seconds, args=(address, patience), kwargs={"is_ending": is_ending}, daemon=True)
    thread.start()
    yield
    server.job("FAILED", time.time())
    thread.join(120)
    assert not thread.is_alive()


@pytest.mark.parametrize("script", ["exec sleep 600", "sleep 600", "sleep 600 || test $? -eq 3"])
def test_a_command_that_is_no_training_is_ended_once_and_its_shell_tells_how(script: str) -> None:
    with dashboard() as (server, address), command(script) as process:
        server.job("RUNNING")
        with staying(server, address, is_ending=False):
            assert process.wait(120) in (-signal.SIGTERM, 128 + signal.SIGTERM, 1)


def test_a_command_that_saves_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second signal would end a training before it has saved."""
    monkeypatch.setattr(ray_job, "SEEN", -NEVER)  # its time is not up
    with dashboard() as (server, address), command("sleep 600") as process:
        server.job("RUNNING")
        seconds(address, 0.5, is_ending=True)
        assert process.poll() is None


@pytest.mark.parametrize("is_ending", [True, False])
@pytest.mark.parametrize("script", ["exec {}", "trap true TERM; {} || test $? -eq 3"])
def test_a_command_that_outlives_the_grace_period_fails_before_the_pod_ends(script: str, is_ending: bool) -> None:
    """Otherwise the operator would last see the job RUNNING, and would not retry it."""
    stubborn = """sh -c "trap '' TERM; exec sleep 600" """
    with dashboard() as (server, address), command(script.format(stubborn)) as process:
        server.job("RUNNING")
        with staying(server, address, is_ending=is_ending, patience=ray_job.SEEN + ray_job.KILLING + 0.5):
            assert process.wait(120) in (-signal.SIGKILL, 1)


def test_a_chain_that_goes_on_after_a_stage_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_job, "ENDING", 0.3)
    with dashboard() as (server, address), command("exec sleep 600") as process:
        server.job("RUNNING")
        with staying(server, address, is_ending=True):
            assert process.wait(120) == -signal.SIGTERM


def test_a_dry_run_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with dashboard() as (server, address), command("exec sleep 600") as process:
        server.job("RUNNING")
        assert main(["k8s", "stop", "--head", "--dashboard", address, "--dry-run"]) == 0
        assert capsys.readouterr().out == f"Process {process.pid} would be asked to end.\n"
        assert process.poll() is None


def test_something_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["k8s", "stop"]) == 2
    assert "give RUN_DIR, or --head" in capsys.readouterr().err


def test_a_head_ends_the_job_though_the_volume_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise UserError("attempt.json cannot be read") from OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("deepscaler.commands.k8s.stop_training", fail)
    with dashboard() as (server, address), command("exec sleep 600") as process:
        server.job("RUNNING")
        assert main(["k8s", "stop", str(tmp_path), "--head", "--grace", "12", "--dashboard", address]) == 0
        assert process.wait(120) in (-signal.SIGTERM, -signal.SIGKILL)
    assert main(["k8s", "stop", str(tmp_path)]) == 2


def test_a_head_leaves_itself_the_time_to_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step and a save that take longer than the grace period must not keep the head from ending the job."""
    monkeypatch.setenv("RAY_CLUSTER_NAME", "train-8k-abcde")
    monkeypatch.setattr(ray_job, "LAST", 0.5)
    monkeypatch.setattr(ray_job, "KILLING", 0.2)
    saving = RunFolder(tmp_path).attempt(1)
    saving.root.mkdir(parents=True)
    saving.update_record(host="train-8k-abcde-head-x1y2z")
    grace = str(int(ray_job.MARGIN + ray_job.SEEN) + 2)
    with alive(saving), dashboard() as (server, address), command("exec sleep 600") as process:
        server.job("RUNNING")
        words = ["k8s", "stop", str(tmp_path), "--head", "--grace", grace, "--dashboard", address]
        assert main(words) == 0
        assert saving.stop_path.exists()
        assert process.wait(120) == -signal.SIGTERM
