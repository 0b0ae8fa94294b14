"""Five hundred sums of one's own, from a file of JSON lines to a trained and evaluated model."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from deepscaler.data.table import problems_of
from tests.integration.processes import deepscaler, run

pytestmark = pytest.mark.slow

RECIPE = """
extends = "quickstart"
name = "own"
model = "{model}"
train_dataset = ["{sums}", "scored"]
validation_dataset = ["held_out.jsonl"]
num_steps = 2
save_every = 2
train_batch_size = 2
mini_batch_size = 2
group_size = 4
max_response_length = 4

[data]
problem = "question"
answer = "final"
weights = [0.7, 0.3]
prompt_suffix = " Answer:"
"""


def write_sums(file: Path, count: int, seed: int) -> None:
    draw = random.Random(seed)
    pairs = draw.sample([(one, other) for one in range(100) for other in range(100)], count)
    rows = [{"question": f"What is {one} + {other}?", "final": one + other} for one, other in pairs]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def done(*arguments: object) -> str:
    finished = run(deepscaler(*arguments))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.usefixtures("training")
def test_sums_of_ones_own_are_prepared_scored_filtered_trained_on_merged_and_evaluated(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSCALER_CACHE", str(tmp_path / "cache"))
    sums, held_out = tmp_path / "sums.jsonl", tmp_path / "held_out.jsonl"
    write_sums(sums, 500, seed=1)
    write_sums(held_out, 20, seed=2)

    said = done("data", "prepare", sums, "--name", "mine")
    assert "mine: columns: problem = 'question', answer = 'final', id = a hash of the text" in said
    assert "mine: 500 rows -> " in said
    assert "yours: " in done("data", "list")

    draw = ["--model", tiny_model, "--engine", "transformers", "--num-samples", 2, "--max-tokens", 2, "--limit", 30]
    assert "pass rates of 30 problems" in done("data", "score", "mine", *draw)
    assert "Loading" not in done("data", "score", "mine", *draw), "all samples are there"
    said = done("data", "filter", "mine", "--pass-rate", "0:0.5", "--name", "scored")
    assert "470 left out (not scored)" in said
    entry = read(tmp_path / "cache/data/manifest.json")["scored"]
    assert (entry["rows"], entry["pass_rate"]) == (30, [0, 0.5])
    assert entry["scored_by"]["weights"].startswith("sha256:")

    recipe, root = tmp_path / "my.toml", tmp_path / "run"
    recipe.write_text(RECIPE.format(model=tiny_model, sums=sums.name))
    train = ["train", recipe, "--device", "cpu", "--output-dir", root]
    printed = done(*train, "--dry-run")
    assert str(root / "data/train.parquet") in printed
    assert not root.exists()
    said = done(*train)
    assert "training data by weights" in said
    problems = list(problems_of(root / "data/train.parquet"))
    from_sums = [problem for problem in problems if problem.data_source == "sums"]
    assert len(from_sums) / len(problems) == pytest.approx(0.7, abs=0.001)
    assert all(problem.question.endswith("? Answer:") for problem in problems)
    assert read(root / "run.json")["data"]["train.parquet"] == read(root / "data/data.json")["files"]["train.parquet"]
    [validation] = [json.loads(line) for line in (root / "validation/2.jsonl").read_text().splitlines()][:1]
    assert "Answer:" in validation["input"]

    sums.write_text('{"question": "1 + 1?", "final": 2}\n')
    said = done(*train, "--set", "num_steps=3", "--set", "save_every=1")
    assert "has changed since this run copied it: the run continues with its copy" in " ".join(said.split())
    assert len(list(problems_of(root / "data/train.parquet"))) == len(problems)

    done("merge", root)
    evaluate = ["evaluate", "--model", root / "model", "--datasets", held_out, "--output-dir", root / "evaluation"]
    evaluate += ["--engine", "transformers", "--num-samples", 1, "--max-tokens", 2, "--limit", 10]
    done(*evaluate)
    assert list(read(root / "evaluation/report.json")["benchmarks"]) == ["held_out"]
    assert "held_out" in (root / "evaluation/report.md").read_text()
    assert "Loading" not in done(*evaluate)
    held_out.write_text('{"question": "1 + 1?", "final": 2}\n')
    refused = run(deepscaler(*evaluate))
    assert refused.returncode == 2
    assert "held_out.jsonl has changed since this evaluation began" in refused.stderr
