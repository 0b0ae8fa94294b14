"""A model that verl trained is published to a hub on this machine, loaded from there, and trained again elsewhere."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepscaler.models.model import hash_weights
from deepscaler.publish.manifest import FILE
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import digest, read_metrics
from tests.deepscaler.publish.hub import TOKEN, running_hub
from tests.integration.processes import deepscaler, run

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]  # two trainings, a merge and an upload: minutes

RECIPE = """
extends = "quickstart"
name = "again"
model = "start"
train_dataset = ["sums.jsonl"]
num_steps = 3
save_every = 3
validate_every = 3
train_batch_size = 2
mini_batch_size = 2
group_size = 4
max_response_length = 8
learning_rate = 0.001

[reward]
function = "mine.py:score"
parts = {function = 1.0}
"""
REWARD = "def score(response: str) -> float:\n    return (len(response) % 7) / 7\n"
LOAD = """
import sys
from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = snapshot_download("lab/again")
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
chat = [{"role": "user", "content": "What is 2 + 3?"}]
inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
drawn = model.generate(**inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False)
print(folder, drawn.shape[1] - inputs["input_ids"].shape[1])
"""


@pytest.mark.usefixtures("training")
def test_a_training_is_published_loaded_and_reproduced(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    there.mkdir()
    shutil.copytree(tiny_model, there / "start")
    sums = [{"problem": f"What is {one} + 4?", "answer": one + 4} for one in range(9)]
    (there / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sums))
    (there / "mine.py").write_text(REWARD)
    (there / "again.toml").write_text(RECIPE)
    trained = RunFolder(there / "run")
    done = run(deepscaler("train", there / "again.toml", "--device", "cpu", "--output-dir", trained.root))
    assert done.returncode == 0, done.stdout + done.stderr

    with running_hub() as hub:
        settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        for name, value in {**settings, "HF_HOME": str(tmp_path / "hub")}.items():
            monkeypatch.setenv(name, value)
        published = tmp_path / "published"
        done = run(deepscaler("publish", trained.root, "--repo", "lab/again", "--output-dir", published))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Merged and verified" in done.stdout
        there_now = {name: text for name, text in hub.repos["lab/again"].branches["main"].items() if name[0] != "."}
        assert there_now == {file.name: file.read_bytes() for file in published.iterdir()}
        loaded = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=False)
        assert loaded.returncode == 0, loaded.stderr
        folder, num_drawn = loaded.stdout.split()
        assert num_drawn == "4"
        assert hash_weights(Path(folder)) == hash_weights(trained.model)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    elsewhere.mkdir()
    shutil.copy(published / FILE, elsewhere)
    for name in ("start", "sums.jsonl"):
        (there / name).rename(elsewhere / name)
    there.rename(tmp_path / "out of sight")
    monkeypatch.chdir(elsewhere)
    command = deepscaler("reproduce", FILE, "--output-dir", "run")
    refused = run(command)
    assert refused.returncode == 2
    assert "missing: model;" in refused.stderr, "the data file is beside the record"
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    again = run([*command, "--model", "start", "--yes"])
    assert again.returncode == 0, again.stdout + again.stderr
    assert "figures up to step 3 are the same to the last digit" in again.stdout
    runs = (RunFolder(tmp_path / "out of sight/run"), RunFolder(elsewhere / "run"))
    assert digest(read_metrics(runs[0])) == digest(read_metrics(runs[1]))
    assert [file.name for file in (elsewhere / "run/reproduced").iterdir()] == ["mine.py"]
