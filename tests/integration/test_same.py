"""verl itself trains the same twice: a run that is killed again and again equals, to the last digit, one that is not.

Seven problems in batches of two make epochs of three steps, each of which leaves another problem out.
"""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.ledger import read_ledger
from deepscaler.runs.metrics import is_of_the_machine, read_lines, read_metrics, steps_of, validation
from tests.integration.processes import deepscaler, run, started, wait_until, wait_until_gone

pytestmark = pytest.mark.slow

NUM_PROBLEMS, BATCH, EPOCH = 7, 2, 3
CLEAN_AFTER = 120
"""Seconds in which every process of a killed run must be gone."""

REWARD = Path(__file__).with_name("parity_reward.py")

RECIPE = """
extends = "quickstart"
name = "same"
model = "{model}"
train_dataset = ["sums.jsonl"]
validation_dataset = ["held_out.jsonl"]
num_steps = {num_steps}
save_every = 1
validate_every = {epoch}
train_batch_size = {batch}
mini_batch_size = {batch}
group_size = 4
max_response_length = 8
learning_rate = 0.001
num_warmup_steps = 0

[reward]
function = "parity_reward.py:score"
parts = {{function = 1.0}}
"""


class Trainings:
    """Trainings of one recipe, each in a folder of its own."""

    def __init__(self, folder: Path, model: Path, num_steps: int) -> None:
        self._folder, self.num_steps = folder, num_steps
        folder.mkdir(exist_ok=True)
        shutil.copy(REWARD, folder)
        for name, count in (("sums", NUM_PROBLEMS), ("held_out", 4)):
            rows = [{"problem": f"What is {count} + {other}?", "answer": count + other} for other in range(count)]
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        recipe = RECIPE.format(model=model, num_steps=num_steps, epoch=EPOCH, batch=BATCH)
        (folder / "same.toml").write_text(recipe)

    def command(self, name: str) -> list[str]:
        options = ("--device", "cpu", "--keep", 100, "--output-dir", self._folder / name)
        return deepscaler("train", self._folder / "same.toml", *options)

    def finish(self, name: str) -> RunFolder:
        """Trains to the end."""
        done = run(self.command(name))
        assert done.returncode == 0, done.stdout + done.stderr
        return RunFolder(self._folder / name)

    def kill(self, name: str, step: int, seconds: float) -> None:
        """Starts a training, and kills it so many seconds after it has begun a step (0: was started)."""
        folder = RunFolder(self._folder / name)
        with started(self.command(name)) as process:
            if step:
                wait_until(lambda: step in begun_now(folder), process, f"step {step}")
            time.sleep(seconds)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        wait_until_gone(folder.root, CLEAN_AFTER)

    def kill_at_save(self, name: str, step: int) -> None:
        """Starts a training, and kills it once it has saved a step."""
        folder = RunFolder(self._folder / name)
        with started(self.command(name)) as process:
            wait_until(lambda: step in {one.step for one in sealed(folder)}, process, f"checkpoint of step {step}")
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        wait_until_gone(folder.root, CLEAN_AFTER)


def begun_now(folder: RunFolder) -> set[int]:
    """Returns the steps that the newest attempt has begun."""
    lines = [attempt.root / "prompts.jsonl" for attempt in folder.attempts()[-1:]]
    written = [line for file in lines if file.is_file() for line in file.read_text().splitlines(keepends=True)]
    return {json.loads(line)["step"] for line in written if line.endswith("\n")}


def differing(one: RunFolder, other: RunFolder) -> set[tuple[int, str]]:
    """Returns steps and names of all numbers that differ, but for times, speeds and memory."""
    mine, theirs = read_metrics(one), read_metrics(other)
    keys = {(step, key) for metrics in (mine, theirs) for step, values in metrics.items() for key in values}
    return {
        (step, key)
        for step, key in keys
        if not is_of_the_machine(key) and mine.get(step, {}).get(key) != theirs.get(step, {}).get(key)
    }


def weights(folder: RunFolder) -> dict[int, dict[str, bytes]]:
    """Returns the bytes of each checkpoint's weights, by step and name."""
    import torch  # noqa: PLC0415

    def read(path: Path) -> dict[str, bytes]:
        state = torch.load(path / "actor/model_world_size_1_rank_0.pt", weights_only=False)
        return {name: tensor.to_local().numpy().tobytes() for name, tensor in state.items()}

    return {checkpoint.step: read(checkpoint.path) for checkpoint in sealed(folder)}


def check_same(killed: RunFolder, whole: RunFolder, num_steps: int) -> None:
    """Checks that a run which was killed asked, measured and learned what one did that was not."""
    ledger, expected = read_ledger(killed), read_ledger(whole)
    assert ledger.batches == expected.batches
    assert list(ledger.batches) == [*range(1, num_steps + 1)]
    for first in range(1, num_steps - EPOCH + 2, EPOCH):
        asked = [one for step in range(first, first + EPOCH) for one in ledger.batches[step].prompts]
        assert len(set(asked)) == len(asked), "no problem twice in an epoch"
    assert not differing(killed, whole)
    mine, theirs = weights(killed), weights(whole)
    assert mine[num_steps] == theirs[num_steps]
    assert theirs[1] != theirs[2] != theirs[num_steps], "it learns"


@pytest.mark.long  # four starts of verl: six minutes on two busy cores
@pytest.mark.usefixtures("training")
def test_a_run_killed_at_an_epochs_end_and_within_a_step_equals_one_that_was_not(
    tiny_model: Path, tmp_path: Path
) -> None:
    trainings = Trainings(tmp_path, tiny_model, num_steps=EPOCH + 3)
    whole = trainings.finish("whole")
    trainings.kill("killed", EPOCH + 1, 0)
    trainings.kill("killed", EPOCH + 2, 0.5)
    trainings.kill_at_save("killed", trainings.num_steps)
    killed = RunFolder(tmp_path / "killed")
    assert trainings.num_steps not in dict(read_lines(killed.attempts()[-1].metrics_path)), "killed in a validation"
    assert trainings.num_steps in steps_of(read_metrics(killed)), "its numbers were written before it was saved"
    trainings.finish("killed")
    assert validation(read_metrics(killed)) == validation(read_metrics(whole))
    assert rollouts(killed) == rollouts(whole)
    assert "Finished before" in run(trainings.command("killed")).stdout
    assert len(killed.attempts()) == 4
    check_saved_step(whole)
    check_same(killed, whole, trainings.num_steps)
    told = [prompts_told(folder) for folder in (killed, whole)]
    assert told[0] == {**told[1], "redone": {str(step): count for step, count in read_ledger(killed).redone.items()}}
    assert (told[0]["twice"], told[0]["missing"], told[1]["redone"]) == ({}, [], {})


def check_saved_step(folder: RunFolder) -> None:
    """Checks that what is written of a step at its save is what verl logs of it later."""
    (attempt,) = folder.attempts()
    ((step, saved),) = read_lines(attempt.saved_path)
    logged = dict(read_lines(attempt.metrics_path))[step]
    repeatable = {key: value for key, value in saved.items() if not is_of_the_machine(key)}
    assert repeatable == {key: logged[key] for key in repeatable}
    assert {key for key in logged.keys() - saved.keys() if not key.startswith(("val-", "timing_"))} == set()
    assert 0 < saved["timing_s/step"] < logged["timing_s/step"]


def rollouts(folder: RunFolder) -> dict[str, list[tuple[str, str, float]]]:
    """Returns prompts, responses and scores by file; verl's ids of them are random."""
    files = sorted((folder.root / "rollouts").glob("*.jsonl"))
    entries = {file.name: map(json.loads, file.read_text().splitlines()) for file in files}
    return {
        name: sorted((one["input"], one["output"], one["score"]) for one in found) for name, found in entries.items()
    }


def prompts_told(folder: RunFolder) -> dict[str, Any]:
    """Returns what a run's report says of its prompts."""
    done = run(deepscaler("report", folder.root))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((folder.root / "report.json").read_text())
    return dict(report["stages"][0]["prompts"])


@pytest.mark.long
@pytest.mark.usefixtures("training")
def test_twenty_kills_at_random_moments_change_nothing(tiny_model: Path, tmp_path: Path) -> None:
    trainings = Trainings(tmp_path, tiny_model, num_steps=24)
    draw = random.Random(19)
    for _ in range(20):
        kill_at_random(trainings, RunFolder(tmp_path / "killed"), draw)
    killed = trainings.finish("killed")
    assert len(killed.attempts()) == 21
    check_same(killed, trainings.finish("whole"), trainings.num_steps)


def kill_at_random(trainings: Trainings, folder: RunFolder, draw: random.Random) -> None:
    """Kills a training while it starts, one time in five, else within its next step or two."""
    saved = [checkpoint.step for checkpoint in sealed(folder)] if folder.is_run else []
    starts = draw.random() < 0.2 or max(saved, default=0) + 2 > trainings.num_steps
    seconds = draw.uniform(0, 20) if starts else draw.uniform(0, 3)
    trainings.kill(folder.root.name, 0 if starts else max(saved, default=0) + draw.randint(1, 2), seconds)
