"""verl itself trains on this machine: killed at the worst moments, resumed, fenced, moved to more ranks, chained."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deepscaler.runs.checkpoints import PREFIX, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import read_metrics
from tests.integration.processes import deepscaler, ray_cluster, run, started, wait_until, wait_until_gone

pytestmark = pytest.mark.slow

CLEAN_AFTER = 120
"""Seconds in which every process of a killed run must be gone."""

SMALL = ("train_batch_size=2", "mini_batch_size=2", "group_size=4", "max_response_length=8", "validate_every=100")


def settings(*more: str) -> list[str]:
    return [part for setting in (*SMALL, *more) for part in ("--set", setting)]


def train(root: Path, model: Path, *more: str) -> list[str]:
    common = settings(f"model={model}", "num_steps=200", "save_every=1", *more)
    return deepscaler("train", "quickstart", "--device", "cpu", "--output-dir", root, "--keep", 9, *common)


def steps(run_folder: RunFolder) -> list[int]:
    return [checkpoint.step for checkpoint in reversed(sealed(run_folder))]


def kill(process: subprocess.Popen[str]) -> str:
    """Of the command itself only: what it started must notice."""
    os.kill(process.pid, signal.SIGKILL)
    return process.communicate()[0]


@pytest.mark.usefixtures("training")
def test_a_run_survives_kills_stops_damage_and_a_change_of_ranks(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    with started(train(folder.root, tiny_model)) as first:
        wait_until(lambda: steps(folder), first, "the first checkpoint")
        second = run(train(folder.root, tiny_model))
        assert second.returncode == 2
        assert re.search("attempt 1.* is at work", second.stderr)
        written = folder.attempt(1).checkpoints / f"{PREFIX}{steps(folder)[-1] + 2}"
        wait_until(written.exists, first, "a checkpoint in the making")
        kill(first)
    wait_until_gone(folder.root, CLEAN_AFTER)
    killed_at = steps(folder)[-1]
    assert killed_at

    with started(train(folder.root, tiny_model)) as resumed:
        wait_until(lambda: steps(folder)[-1] > killed_at, resumed, "one step more")
        resumed.send_signal(signal.SIGTERM)
        output = resumed.communicate()[0]
    assert resumed.returncode == 143, output
    assert "is dead: taking over" in output
    assert "Resuming from the checkpoint of step" in output
    reached = steps(folder)[-1]
    assert f"Stopped: step {reached} of 200 is saved" in output
    wait_until_gone(folder.root, CLEAN_AFTER)

    shard = folder.checkpoints / f"{PREFIX}{reached}/actor/optim_world_size_1_rank_0.pt"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with ray_cluster(tmp_path, num_nodes=2) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        more = run(train(folder.root, tiny_model, "num_nodes=2", f"num_steps={reached + 1}"))
    monkeypatch.delenv("RAY_ADDRESS")
    assert more.returncode == 0, more.stdout + more.stderr
    assert f"the checkpoint of step {reached} is damaged" in more.stdout
    assert "optimizer included: 1 -> 2 ranks" in more.stdout
    assert steps(folder)[-1] == reached + 1
    assert sealed(folder)[0].world_size == 2
    metrics = read_metrics(folder)
    assert [step for step, values in metrics.items() if "critic/score/mean" in values] == [*range(1, reached + 2)]
    assert [attempt.read_record().get("outcome") for attempt in folder.attempts()] == [None, "stopped", "finished"]
    assert {"begun", "first_step", "doctor"} <= folder.attempts()[-1].read_record().keys()
    validation = [json.loads(line) for line in (folder.root / "validation/0.jsonl").read_text().splitlines()]
    assert {"no_box", "undecided", "truncated", "acc"} <= set(validation[0])

    merged = run(deepscaler("merge", folder.root))
    assert merged.returncode == 0, merged.stdout + merged.stderr
    assert "Merged and verified against the shards" in merged.stdout
    assert "merged already" in run(deepscaler("merge", folder.root)).stdout
    status: dict[str, Any] = json.loads(run(deepscaler("status", folder.root, "--json")).stdout)
    assert (status["state"], status["step"]) == ("finished", reached + 1)
    again = run(train(folder.root, tiny_model, "num_nodes=2", f"num_steps={reached + 1}"))
    assert f"Finished before: step {reached + 1} of {reached + 1}" in again.stdout


@pytest.mark.usefixtures("training")
def test_an_adapter_trained_on_asynchronous_rollouts_is_merged_and_evaluated(tiny_model: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    more = ("lora_rank=4", "lora_alpha=8", "learning_rate=0.01", "mask_truncated=true")
    more += ("filter_groups=true", "max_refills=2")
    lengths = ("validation_max_response_length=12", "validate_every=1", "keep_best=1")
    command = train(folder.root, tiny_model, *more, *lengths)
    command += ["--profile", "fast", "--keep", "1"]
    done = run([*command, "--set", "num_steps=2"])
    assert done.returncode == 0, done.stdout + done.stderr
    done = run([*command, "--set", "num_steps=3"])
    assert "Resuming from the checkpoint of step 2" in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr

    metrics = read_metrics(folder)
    assert [step for step, values in metrics.items() if "critic/score/mean" in values] == [1, 2, 3]
    # such a model solves nothing, so every group is thrown away until the limit, the batch asked for ahead among them;
    # then all are taken
    assert metrics[1]["training/filter_groups/evicted_samples"] == 2 * 2
    assert metrics[1]["training/filter_groups/discarded_tokens"] > 0
    assert metrics[1]["training/filter_groups/zero_variance_groups"] == 1
    lines = [json.loads(line) for line in (folder.root / "validation/0.jsonl").read_text().splitlines()]
    assert any(line["truncated"] for line in lines)

    for option in ([], ["--best"]):
        merged = run(deepscaler("merge", folder.root, *option))
        assert merged.returncode == 0, merged.stdout + merged.stderr
        assert "erged" in merged.stdout
    assert (folder.root / "model/lora_adapter/adapter_model.safetensors").is_file()
    output = (
        "--output-dir",
        tmp_path / "evaluation",
        "--num-samples",
        1,
        "--limit",
        4,
        "--max-tokens",
        8,
        "--engine",
        "transformers",
    )
    evaluated = run(deepscaler("evaluate", "--model", folder.root / "model", "--datasets", "arithmetic", *output))
    assert evaluated.returncode == 0, evaluated.stdout + evaluated.stderr


@pytest.mark.long
@pytest.mark.usefixtures("training")
def test_a_chain_killed_in_its_second_stage_goes_on_there(tiny_model: Path, tmp_path: Path) -> None:
    root = tmp_path / "chain"
    command = deepscaler("run", "quickstart", "learn", "--device", "cpu", "--output-dir", root)
    command += settings(f"model={tiny_model}", "num_steps=8", "save_every=1")
    second = RunFolder(root / "2-learn")
    with started(command) as first:
        wait_until(lambda: steps(second), first, "a checkpoint of the second stage")
        kill(first)
    wait_until_gone(second.root, CLEAN_AFTER)
    before = (root / "1-quickstart/model/merged.json").stat().st_mtime_ns
    resumed = run(command, seconds=2000)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert steps(second)[-1] == 8
    assert (root / "1-quickstart/model/merged.json").stat().st_mtime_ns == before, "the first stage was not done again"
    assert json.loads((second.manifest_path).read_text())["recipe"]["model"] == str(root / "1-quickstart/model")
    assert [stage["state"] for stage in json.loads((root / "chain.json").read_text())["stages"]] == ["done", "done"]
    report = json.loads((root / "report.json").read_text())
    assert report
    assert (root / "report.png").stat().st_size > 10_000


@pytest.mark.usefixtures("large_training")
def test_the_quickstart_evaluates_trains_merges_and_evaluates_again(model: Path, tmp_path: Path) -> None:
    done = run(deepscaler("quickstart", "--output-dir", tmp_path / "out"), seconds=2000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert model.name in done.stdout
    for folder in ("0-base", "1-quickstart"):
        scores = json.loads((tmp_path / "out" / folder / "evaluation/report.json").read_text())
        scores = scores["benchmarks"]["arithmetic"]
        assert 0.02 < scores["pass@1"]["value"] < 0.95
        assert scores["samples"] == scores["samples_expected"] == 256
    assert (tmp_path / "out/report.html").stat().st_size > 20_000
    folders = [tmp_path / "out" / folder / "evaluation" for folder in ("0-base", "1-quickstart")]
    compared = run(deepscaler("compare", *folders), seconds=200)
    assert compared.returncode == 0, compared.stdout + compared.stderr
