"""The real engine on the real small model: killed, resumed, refused, reported."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import DEADLINE, deepscaler, run, started, wait_until

pytestmark = pytest.mark.slow

NUM_PROBLEMS, NUM_SAMPLES = 40, 3


def command(model: Path, output_dir: Path, *more: str) -> list[str]:
    options = ["--datasets", "arithmetic", "--limit", str(NUM_PROBLEMS), "--num-samples", str(NUM_SAMPLES)]
    options += ["--max-tokens", "40", "--max-num-seqs", "4", "--output-dir", str(output_dir)]
    return deepscaler("evaluate", "--model", model, *options, *more)


def wait_for_samples(output_dir: Path, count: int, process: subprocess.Popen[str]) -> None:
    path = output_dir / "samples/arithmetic.jsonl"
    wait_until(
        lambda: path.is_file() and path.read_bytes().count(b"\n") >= count, process, f"{count} samples in {path}"
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def test_a_killed_evaluation_goes_on_and_no_sample_is_lost_or_doubled(model: Path, tmp_path: Path) -> None:
    out, samples = tmp_path / "out", tmp_path / "out/samples/arithmetic.jsonl"
    with started(command(model, out)) as first:
        wait_for_samples(out, 1, first)
        second = run(command(model, out))
        assert second.returncode == 2
        assert "another process is evaluating" in second.stderr
        wait_for_samples(out, 5, first)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(DEADLINE)
    before = samples.read_bytes()
    assert before.count(b"\n") < NUM_PROBLEMS * NUM_SAMPLES, "it was killed too late to show anything"
    torn = before[: before.rstrip(b"\n").rfind(b"\n") + 40]
    samples.write_bytes(torn)

    resumed = run(command(model, out))
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "removed an incomplete last line" in resumed.stdout
    assert samples.read_bytes().startswith(torn[: torn.rfind(b"\n") + 1])
    keys = [(line["problem_id"], line["sample"]) for line in read_lines(samples)]
    assert len(keys) == len(set(keys)) == NUM_PROBLEMS * NUM_SAMPLES
    report = json.loads((out / "report.json").read_text())
    assert report["benchmarks"]["arithmetic"]["samples"] == NUM_PROBLEMS * NUM_SAMPLES
    assert len(report["provenance"]["attempts"]) == 2
    assert report["provenance"]["engine"]["name"] == "vllm"
    assert report["warnings"] == []

    whole = samples.read_bytes()
    again = run(command(model, out))
    assert again.returncode == 0
    assert "Loading" not in again.stdout, "nothing was missing, so no engine was needed"
    assert samples.read_bytes() == whole

    other = run(command(model, out, "--temperature", "0.7"))
    assert other.returncode == 2
    assert "temperature: 0.6 -> 0.7" in other.stderr


def test_sigterm_saves_what_is_done_and_says_where_it_stands(model: Path, tmp_path: Path) -> None:
    with started(command(model, tmp_path)) as process:
        wait_for_samples(tmp_path, 1, process)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 143, output
    num_saved = len(read_lines(tmp_path / "samples/arithmetic.jsonl"))
    assert f"Stopped: {num_saved} of {NUM_PROBLEMS * NUM_SAMPLES} samples are saved" in output


def test_transformers_draws_the_same_samples_again(tiny_model: Path, tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        done = run(command(tiny_model, tmp_path / name, "--engine", "transformers", "--limit", "2"))
        assert done.returncode == 0, done.stdout + done.stderr
        lines = read_lines(tmp_path / name / "samples/arithmetic.jsonl")
        texts.append({(line["problem_id"], line["sample"]): line["text"] for line in lines})
    assert texts[0] == texts[1]
    assert len(set(texts[0].values())) > 2


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_deterministic_samples_do_not_depend_on_their_batch(
    model: Path, tiny_model: Path, tmp_path: Path, engine: str
) -> None:
    """Two batch sizes and two sets of neighbors; that a plain run on a CPU often agrees, too, is no promise."""
    chosen, texts = (model if engine == "vllm" else tiny_model), []
    for size, limit in (("1", 3), ("16", 6)):
        more = ["--engine", engine, "--deterministic", "--max-num-seqs", size, "--limit", str(limit)]
        done = run(command(chosen, tmp_path / size, *more))
        assert done.returncode == 0, done.stdout + done.stderr
        lines = read_lines(tmp_path / size / "samples/arithmetic.jsonl")
        texts.append({(line["problem_id"], line["sample"]): line["text"] for line in lines})
    assert len(texts[0]) == 3 * NUM_SAMPLES
    assert texts[0].items() <= texts[1].items()
    other = run(command(chosen, tmp_path / "1", "--engine", engine, "--limit", "3"))
    assert "deterministic: True -> False" in other.stderr
