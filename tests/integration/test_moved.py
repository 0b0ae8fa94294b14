"""Real ranks of verl, moved from two to one and back with their optimizer: as if they had never been moved (see moved).

FSDP1 is what recipes for GPUs use, FSDP2 what a CPU does.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.system.files import write_json
from tests.integration.processes import SHARING
from tests.integration.toy import save_toy
from tests.places import ROOT

pytestmark = pytest.mark.slow

CLOSE = 1e-5


@pytest.mark.parametrize(
    ("strategy", "lora_rank"),
    [("fsdp2", 0), *(pytest.param(*case, marks=pytest.mark.long) for case in (("fsdp", 0), ("fsdp", 4), ("fsdp2", 4)))],
)
def test_ranks_go_on_as_if_never_moved(strategy: str, lora_rank: int, tmp_path: Path) -> None:
    save_toy(tmp_path / "toy")
    run = RunFolder(tmp_path / "run")
    write_json(run.manifest_path, {"recipe": {"lora_rank": lora_rank}, "device": "cpu"})
    command = [sys.executable, "-m", "tests.integration.moved", str(tmp_path), strategy, str(lora_rank)]
    environment = {**os.environ, **SHARING, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    assert [(one.step, one.world_size) for one in sealed(run)] == [(2, 1), (1, 2)]

    stayed = json.loads((tmp_path / "stayed.json").read_text())
    moved = [json.loads((tmp_path / f"{what}.json").read_text())[0] for what in ("second", "third")]
    for ours, theirs in zip(moved, stayed[1:], strict=True):
        for name in ("log_probs", "reference"):
            rows = zip(ours[name], theirs[name], strict=True)
            assert max(abs(x - y) for one, other in rows for x, y in zip(one, other, strict=True)) < CLOSE
        assert ours["actor/pg_loss"] == pytest.approx(theirs["actor/pg_loss"], abs=CLOSE)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=CLOSE)
        assert ours["lr"] == theirs["lr"]
    losses = [step["actor/pg_loss"][0] for step in stayed]
    assert min(abs(one - other) for one in losses for other in losses if one != other) > 100 * CLOSE, "steps differ"
    ours, theirs = (torch.load(tmp_path / f"{what}.pt") for what in ("third", "stayed"))
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < CLOSE
