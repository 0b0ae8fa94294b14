"""A hostile reward function, in a training by verl: every response gets the score it is due, and nothing is left."""

import json
from pathlib import Path

import pytest

from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import parts, read_metrics
from deepscaler.system.processes import descendants
from tests.integration.hostile_reward import KINDS, kind_of
from tests.integration.logged import tensorboard, wandb_offline
from tests.integration.processes import deepscaler, run, wait_until_gone

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).with_name("hostile_reward.py")

RECIPE = """
extends = "quickstart"
name = "hostile"
model = "{model}"
num_steps = 2
train_batch_size = 2
mini_batch_size = 2
group_size = 4
max_response_length = 8

[reward]
function = "my_reward.py:score"
parts = {{grader = 1.0, function = 0.5, overlong = 0.1, format = 0.0}}
overlong_buffer = 4
timeout = 2.0

[verl]
"actor_rollout_ref.actor.optim.betas" = [0.9, 0.95]
"""


@pytest.mark.usefixtures("training")
def test_a_hostile_reward_does_not_stop_a_training(tiny_model: Path, tmp_path: Path) -> None:
    file, recipe, folder = tmp_path / "my_reward.py", tmp_path / "hostile.toml", RunFolder(tmp_path / "run")
    file.write_bytes(SOURCE.read_bytes())
    recipe.write_text(RECIPE.format(model=tiny_model))
    command = deepscaler("train", recipe, "--device", "cpu", "--output-dir", folder.root, "--wandb", "offline")
    done = run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sealed(folder)[0].step == 2
    wait_until_gone(folder.root, 120)
    assert not _leftovers(), "a daemon of the reward"

    validation = [json.loads(line) for line in (folder.root / "validation/0.jsonl").read_text().splitlines()]
    seen = {kind_of(line["output"]) for line in validation}
    assert len(seen) > len(KINDS) / 2
    for line in validation:
        due = KINDS[kind_of(line["output"])]
        assert line["function"] == (due or 0.0), line
        assert line["function_undecided"] == line["undecided"] == float(due is None), line
        assert line["score"] == pytest.approx(line["acc"] + 0.5 * line["function"] + 0.1 * line["overlong"]), line

    metrics = read_metrics(folder)
    assert set(parts(metrics)) == {"grader", "function", "overlong", "format"}
    assert any(metrics[step]["reward/function_undecided/mean"] for step in (1, 2))
    config, at_wandb = wandb_offline(folder.root)
    assert config["actor_rollout_ref"]["actor"]["optim"]["betas"] == [0.9, 0.95]
    for values in (at_wandb, tensorboard(folder.root)):
        for part, points in parts(metrics).items():
            assert values[f"reward/{part}/mean"] == pytest.approx([value for _, value in points], abs=1e-6)
    for step in (1, 2):
        values = {name: dict(points)[step] for name, points in parts(metrics).items()}
        weighted = values["grader"] + 0.5 * values["function"] + 0.1 * values["overlong"]
        assert metrics[step]["critic/score/mean"] == pytest.approx(weighted, abs=1e-5)
        assert values["overlong"] == -1, "all responses of random weights reach the limit"
        assert metrics[step]["actor/grad_norm"] >= 0

    file.write_text("def score(): return 1")
    again = run([*command, "--set", "num_steps=3", "--dry-run"])
    assert "was edited since; this run continues with its own copy" in " ".join(again.stdout.split()), again.stderr
    bound = folder.read_manifest()["reward"]
    assert (bound["file"], bound["function"]) == ("my_reward.py", "score")
    assert (folder.root / "reward/my_reward.py").read_bytes() == SOURCE.read_bytes()
    (folder.root / "reward/my_reward.py").write_text("def score(): return 1")
    refused = run(command)
    assert refused.returncode == 2
    assert "is not the file that the run was begun with" in refused.stderr


def _leftovers() -> list[int]:
    return [pid for pid in descendants(1) if b"4711" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
