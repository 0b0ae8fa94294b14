"""Ranks of several nodes join, train a step, save and resume; what they compute is what one rank computes.

The ranks are verl's workers on gloo (see mesh); 2 x 2 of them here, 4 x 8, as recipe 16k has, in `make long`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from deepscaler.runs.checkpoints import newest
from deepscaler.runs.folder import RunFolder
from deepscaler.system.files import write_json
from deepscaler.training.merge import merge
from tests.integration.processes import SHARING
from tests.integration.toy import save_toy
from tests.places import ROOT

pytestmark = pytest.mark.slow


def seen(folder: Path, step: int) -> dict[str, Any]:
    """Returns what rank 0 saw in a step."""
    return dict(json.loads((folder / f"step_{step}.json").read_text()))


def same(one: Any, other: Any) -> bool:
    """Returns whether two ranks' states are equal to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


@pytest.fixture(params=[(2, 2), pytest.param((4, 8), marks=pytest.mark.long)], ids=["2x2", "4x8"])
def trained(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    """Returns the folder of what ranks did (see mesh), and how many they were."""
    save_toy(tmp_path / "toy")
    write_json(RunFolder(tmp_path / "run").manifest_path, {"recipe": {"lora_rank": 0}})
    num_nodes, gpus_per_node = request.param
    command = [sys.executable, "-m", "tests.integration.mesh", str(tmp_path), str(num_nodes), str(gpus_per_node)]
    environment = {**os.environ, **SHARING, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    print(*(line for line in done.stdout.splitlines() if " ranks, " in line), sep="\n")
    return tmp_path, num_nodes * gpus_per_node


def test_ranks_join_save_resume_and_merge(trained: tuple[Path, int]) -> None:
    folder, num_ranks = trained
    for step in (1, 2):  # 1: as loaded, before anything is computed
        for rank in range(num_ranks):
            before, after = (torch.load(folder / what / f"step_{step}/rank_{rank}.pt") for what in ("train", "resume"))
            assert before["schedule"] == step
            assert len(before["moments"]) == 3 * len(before["weights"]) > 0
            assert same(before, after), f"rank {rank} after step {step}"
    assert seen(folder / "train", 2) == seen(folder / "resume", 2)

    run_folder = RunFolder(folder / "run")
    checkpoint = newest(run_folder, print)
    assert checkpoint is not None
    assert checkpoint.world_size == num_ranks
    from safetensors.torch import load_file  # noqa: PLC0415

    merged = load_file(merge(run_folder, Console()) / "model.safetensors")
    weights = torch.load(folder / "train/weights_1.pt")
    assert merged.keys() == weights.keys()
    assert all(torch.equal(merged[name], weights[name].bfloat16()) for name in merged)
    untrained = load_file(folder / "toy/model.safetensors")
    assert not any(torch.equal(untrained[name], weights[name]) for name in weights), "a step changes every weight"

    ours, theirs = (seen(folder / what, 1) for what in ("train", "alone"))
    for name in ("log_probs", "reference"):
        rows = zip(ours[name], theirs[name], strict=True)
        assert max(abs(x - y) for one, other in rows for x, y in zip(one, other, strict=True)) < 1e-5
    assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)
