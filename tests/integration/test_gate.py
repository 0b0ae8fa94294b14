"""A chain's gate between real evaluations: in doubt it stops or goes on, as it was told."""

import json
import shutil
from pathlib import Path

import pytest

from tests.deepscaler.runs.runs import seal_checkpoint
from tests.integration.processes import deepscaler, run

pytestmark = pytest.mark.slow

EVALUATION = "--engine transformers --num-samples 2 --max-tokens 8 --limit 4 --dtype float32"


def test_a_gate_in_doubt_stops_a_chain_or_lets_it_go_on(tiny_model: Path, tmp_path: Path) -> None:
    """The first stage is trained already and has changed nothing, which eight samples cannot show."""
    stage = tmp_path / "1-quickstart"
    seal_checkpoint(stage, 2)
    shutil.copytree(tiny_model, stage / "model")
    (stage / "model/merged.json").write_text(json.dumps({"step": 2}))
    command = deepscaler("chain", "quickstart", "learn", "--device", "cpu", "--output-dir", tmp_path)
    command += ["--set", f"model={tiny_model}", "--set", "num_steps=2"]
    command += ["--eval", "arithmetic", "--eval-options", EVALUATION, "--gate"]
    stopped = run([*command, "--gate-on-doubt", "stop"], seconds=600)
    assert stopped.returncode == 3, stopped.stdout + stopped.stderr
    assert "Gate: quickstart is in doubt: arithmetic 0.0 -> 0.0 (+0.0 points" in stopped.stdout
    assert "is not ruled out; stopping here.\n" in stopped.stdout
    stored = json.loads((tmp_path / "chain.json").read_text())
    assert stored["stages"][0]["state"] == "stopped by the gate"
    assert stored["options"]["gate_on_doubt"] == "stop"
    status = run(deepscaler("status", tmp_path), seconds=100)
    assert "quickstart is in doubt: arithmetic 0.0 -> 0.0" in status.stdout
    gone_on = run([*command, "--only", "quickstart:evaluate"], seconds=600)
    assert gone_on.returncode == 0, gone_on.stdout + gone_on.stderr
    assert "is not ruled out; going on.\n" in gone_on.stdout
