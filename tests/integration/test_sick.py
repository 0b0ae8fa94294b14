"""A training by verl that is as sick as can be: its signs are seen, told by W&B and by a real Prometheus, reported."""

import json
from pathlib import Path

import pytest

from deepscaler.recipes.signs import SIGNS
from deepscaler.runs.alarms import history
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import read_metrics
from tests.integration.logged import wandb_alerts
from tests.integration.processes import deepscaler, free_port, run, started, wait_until_gone
from tests.integration.prometheus import Prometheus

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).with_name("sick_reward.py")

RECIPE = """
extends = "quickstart"
name = "sick"
profile = "fast"
model = "{model}"
num_steps = 15
train_batch_size = 2
mini_batch_size = 2
group_size = 4
max_response_length = 8
validate_every = 100
save_every = 100

# one token is certain at first; then the weights shrink, which no reward stops, and every token is as good as another
temperature = 0.001
learning_rate = 0.04
weight_decay = 10.0
num_warmup_steps = 6
kl_coefficient = 0.001

# responses are of older weights
recompute_log_probs = true
rollout_correction = "token"
asynchronous_rollout = true

[reward]
function = "sick_reward.py:score"
parts = {{function = 1.0}}
timeout = 120.0
"""

DEPENDS = {"kl_rising", "mismatch_rising", "not_finite"}
"""Signs that this training mostly shows: by which weights a response is drawn differs from run to run.

test_alerts.py makes their rules fire, and that of `not_finite`, for runs made of files.
"""


@pytest.mark.usefixtures("training")
def test_the_signs_of_a_sick_run_are_seen_and_alerted(
    prometheus: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "a-temporary-folder-with-too-long-a-path-for-sockets"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "0")
    (tmp_path / SOURCE.name).write_bytes(SOURCE.read_bytes())
    (tmp_path / "sick.toml").write_text(RECIPE.format(model=tiny_model))
    folder, port = RunFolder(tmp_path / "run"), free_port()
    folder.root.mkdir()
    server = Prometheus(prometheus, tmp_path, port)
    train = deepscaler("train", tmp_path / "sick.toml", "--device", "cpu", "--output-dir", folder.root)
    with started(deepscaler("metrics", tmp_path, "--port", port)), started(server.command):
        done = run([*train, "--wandb", "offline"])
        assert done.returncode == 0, done.stdout + done.stderr
        fired = server.wait_for(SIGNS.keys() - DEPENDS)
    wait_until_gone(folder.root, 120)

    seen = history(folder, read_metrics(folder))
    assert SIGNS.keys() - DEPENDS <= seen.keys()
    assert min(seen["reward_constant"]) > max(seen["reward_zero"])
    assert SIGNS.keys() - DEPENDS <= fired <= seen.keys()
    alerts = wandb_alerts(folder.root)
    assert alerts.keys() == seen.keys()
    assert all(alerts[name].endswith(SIGNS[name].advice) for name in seen)
    for name in seen:
        assert f"is sick: {name}: " in done.stdout
    reported = run(deepscaler("report", folder.root))
    assert reported.returncode == 0, reported.stderr
    warnings = json.loads((folder.root / "report.json").read_text())["warnings"]
    assert {name for name in SIGNS if any(f"sign of a sick run, {name}, at" in one for one in warnings)} == seen.keys()
    assert json.loads(run(deepscaler("status", folder.root, "--json")).stdout)["alarms"]
