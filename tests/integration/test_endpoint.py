"""A real vLLM server with a real model: asked by both APIs, killed in the middle of an evaluation and started again."""

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from deepscaler.system.processes import python_command
from evaluation.samples import read_samples
from tests.integration.processes import DEADLINE, deepscaler, free_port, run, started, wait_until

pytestmark = pytest.mark.slow

NUM_PROBLEMS, NUM_SAMPLES = 5, 2


@contextmanager
def vllm_server(model: Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yields a server that answers, and ends it with all its processes."""
    command = python_command("-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--port", str(port))
    command += ["--host", "127.0.0.1", "--served-model-name", "small", "--dtype", "float32", "--enforce-eager"]
    command += ["--max-model-len", "2048", "--max-num-batched-tokens", "4096", "--no-enable-chunked-prefill"]
    command += ["--block-size", "32", "--max-num-seqs", "4"]
    environment = os.environ | {
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        "OMP_NUM_THREADS": "2",
    }
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + DEADLINE
        while True:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, "the server does not come up"
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            time.sleep(0.5)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a SIGTERM leaves its engine for a while
        process.wait()


def command(port: int, output_dir: Path, *more: str) -> list[str]:
    options = ["--datasets", "arithmetic", "--limit", str(NUM_PROBLEMS), "--num-samples", str(NUM_SAMPLES)]
    options += ["--max-tokens", "24", "--engine", "openai", "--base-url", f"http://127.0.0.1:{port}/v1"]
    return deepscaler("evaluate", "--model", "small", *options, "--output-dir", output_dir, *more)


def texts(output_dir: Path) -> dict[tuple[str, int], str]:
    samples = read_samples(output_dir / "samples/arithmetic.jsonl")
    assert len({sample.key for sample in samples}) == len(samples)
    return {sample.key: sample.text for sample in samples}


def test_a_server_that_is_killed_and_started_again_costs_no_sample(model: Path, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "server.log"
    one, whole, cut = ("--concurrency", "1"), tmp_path / "whole", tmp_path / "cut"
    samples = cut / "samples/arithmetic.jsonl"
    with ExitStack() as guard:
        with vllm_server(model, port, log):
            done = run(command(port, whole, *one))  # one at a time: batches of other sizes round differently
            assert done.returncode == 0, done.stdout + done.stderr
            by_ids = tmp_path / "ids"
            done = run(command(port, by_ids, "--api", "completions", "--tokenizer", str(model), *one))
            assert done.returncode == 0, done.stdout + done.stderr
            evaluation = guard.enter_context(started(command(port, cut, *one)))
            wait_until(lambda: samples.is_file() and samples.read_bytes().count(b"\n") >= 3, evaluation, "3 samples")
        assert len(texts(cut)) < NUM_PROBLEMS * NUM_SAMPLES, "it was killed too late to show anything"
        with vllm_server(model, port, log):
            output, _ = evaluation.communicate(timeout=DEADLINE)
            assert evaluation.returncode == 0, output
    assert "retrying" in output

    assert texts(cut) == texts(whole) == texts(by_ids)
    assert len(texts(whole)) == NUM_PROBLEMS * NUM_SAMPLES
    report = json.loads((cut / "report.json").read_text())
    assert report["config"]["weights"] == "endpoint:127.0.0.1:small"
    assert report["provenance"]["engine"]["answered_as"][0] == "small"
    assert all(sample.response_tokens > 0 for sample in read_samples(samples))
