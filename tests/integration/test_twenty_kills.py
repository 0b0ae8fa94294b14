"""Twenty SIGKILLs at random moments, of a chain and of an evaluation: nothing is lost, nothing is done twice.

DEEPSCALER_KILLS and DEEPSCALER_SEED in the environment change how many and when; both are printed with what they hit.
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deepscaler.runs.checkpoints import merged_step, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import read_metrics
from tests.integration.processes import deepscaler, run, started, wait_until_gone
from tests.integration.test_shards import drawn, num_saved

pytestmark = [pytest.mark.slow, pytest.mark.long]

NUM_KILLS = int(os.environ.get("DEEPSCALER_KILLS", "20"))
SEED = int(os.environ.get("DEEPSCALER_SEED", "19"))
MOST = 5.0
NUM_STEPS, BATCH, GROUP = 16, 2, 4  # enough to be at work still at the last kill
SMALL = (f"train_batch_size={BATCH}", f"mini_batch_size={BATCH}", f"group_size={GROUP}", "max_response_length=8")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums are rounded alike in every process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def killed_again_and_again(command: list[str], progress: Callable[[], object]) -> None:
    """Starts the same command, kills it alone at a random moment, at once starts it again, and so on.

    Two of three kills hit while it starts, after a share of the seconds that the last start measured took to its first
    progress, so that machines of all speeds are hit alike. The third ones hit up to MOST seconds after this start's own
    first progress. Where one ends before its kill, the next starts find everything done: they must say so and change
    nothing.
    """
    moments, first, hits = random.Random(SEED), 10.0, 0
    print(f"\nseed {SEED}, {NUM_KILLS} kills:", flush=True)
    for number in range(NUM_KILLS):
        share = moments.uniform(0, 1.5)
        with started(command) as process:
            began, before, due = time.monotonic(), progress(), None if share > 1 else share * first
            while process.poll() is None and (due is None or time.monotonic() - began < due):
                if due is None and progress() != before:
                    first = time.monotonic() - began
                    due = first + 2 * (share - 1) * MOST
                time.sleep(0.05)
            seconds, ended = time.monotonic() - began, process.poll()
            if ended is None:
                hits += 1
                os.kill(process.pid, signal.SIGKILL)
            output = process.communicate()[0]
        assert ended in (None, 0), f"kill {number + 1}: ended with code {ended} by itself: {output[-3000:]}"
        told = "was killed" if ended is None else "had ended"
        print(f"  {number + 1}: {told} after {seconds:.1f} s, {before} -> {progress()}", flush=True)
    print(f"{hits} of {NUM_KILLS} kills hit a living process", flush=True)
    assert hits > NUM_KILLS / 2


DRAWING = ["--limit", 4, "--num-samples", 2, "--max-tokens", 8, "--engine", "transformers", "--max-num-seqs", 1]
STAGES = ("1-quickstart", "2-learn")


def test_a_chain_that_is_killed_twenty_times_is_that_of_one_start(tiny_model: Path, tmp_path: Path) -> None:
    root = tmp_path / "chain"
    command = chain(tiny_model, root)
    killed_again_and_again(command, lambda: reached(root))
    last = run(command)
    assert last.returncode == 0, last.stdout + last.stderr
    is_one_chain(root)
    alone = tmp_path / "alone"
    drawing = ["--datasets", "arithmetic", "--output-dir", alone, *DRAWING]
    done = run(deepscaler("evaluate", "--model", tiny_model, *drawing))
    assert done.returncode == 0, done.stdout + done.stderr
    assert drawn(root / "0-base/evaluation") == drawn(alone), "the model at the start, as evaluated undisturbed"


def chain(model: Path, root: Path) -> list[str]:
    command = deepscaler("run", "quickstart", "learn", "--device", "cpu", "--output-dir", root, "--keep", 9)
    command += ["--eval", "arithmetic", "--eval-options", " ".join(map(str, DRAWING))]
    for setting in (*SMALL, f"model={model}", f"num_steps={NUM_STEPS}", "save_every=1", "validate_every=100"):
        command += ["--set", setting]
    return command


def steps(root: Path) -> list[int]:
    """Of the newest checkpoint of each stage."""
    return [found[0].step if (found := sealed(RunFolder(root / name))) else 0 for name in STAGES]


def reached(root: Path) -> str:
    """Returns the steps, the merged models and the samples that are there."""
    merged = [merged_step(RunFolder(root / name)) for name in STAGES]
    drawings = [num_saved(root / name / "evaluation") for name in ("0-base", *STAGES)]
    return f"steps {steps(root)}, merged {merged}, samples {drawings}"


def is_one_chain(root: Path) -> None:
    states = [stage["state"] for stage in json.loads((root / "chain.json").read_text())["stages"]]
    assert set(states) == {"done"}, states
    assert steps(root) == [NUM_STEPS, NUM_STEPS]
    for name in STAGES:
        stage = RunFolder(root / name)
        wait_until_gone(stage.root, 120)
        is_one_training(stage)
        assert (stage.root / "model/merged.json").is_file()
        report = json.loads((stage.root / "evaluation/report.json").read_text())["benchmarks"]["arithmetic"]
        assert len(drawn(stage.root / "evaluation")) == report["samples"] == report["samples_expected"] == 8


def is_one_training(stage: RunFolder) -> None:
    """Every step counts once, with all its responses, and no attempt lost more than the step in flight."""
    metrics = read_metrics(stage)
    assert [step for step, values in metrics.items() if "critic/score/mean" in values] == [*range(1, NUM_STEPS + 1)]
    for step in range(1, NUM_STEPS + 1):
        lines = (stage.root / f"rollouts/{step}.jsonl").read_text().splitlines()
        assert len(lines) == BATCH * GROUP, f"step {step} has {len(lines)} responses"
        assert len({json.loads(line)["input"] for line in lines}) == BATCH
    reached = 0
    for attempt in stage.attempts():
        resumed = attempt.read_record().get("resumed_step") or 0
        logged = attempt.metrics_path.read_text().split("\n")[:-1] if attempt.metrics_path.is_file() else []
        trained = [one["step"] for line in logged if "critic/score/mean" in (one := json.loads(line))["data"]]
        assert trained in ([], [*range(resumed + 1, resumed + 1 + len(trained))]), attempt.root
        assert reached - resumed <= 1, f"{attempt.root} began at step {resumed}, though step {reached} was trained"
        reached = max(reached, *trained, resumed)


def test_an_evaluation_by_two_engines_that_is_killed_twenty_times_is_that_of_one_start(
    tiny_model: Path, tmp_path: Path
) -> None:
    whole, root = tmp_path / "whole", tmp_path / "killed"
    began = time.monotonic()
    with started(evaluation(tiny_model, whole)) as process:
        while not num_saved(whole):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        first_sample = time.monotonic() - began
        output = process.communicate()[0]
    assert process.returncode == 0, output
    print(f"\nundisturbed: first sample after {first_sample:.1f} s, all after {time.monotonic() - began:.1f} s")
    killed_again_and_again(evaluation(tiny_model, root), lambda: f"{num_saved(root)} samples")
    last = run(evaluation(tiny_model, root))
    assert last.returncode == 0, last.stdout + last.stderr
    assert drawn(root) == drawn(whole)
    one, other = (json.loads((folder / "report.json").read_text())["benchmarks"] for folder in (root, whole))
    assert one["arithmetic"]["pass@1"] == other["arithmetic"]["pass@1"]
    assert one["arithmetic"]["samples"] == one["arithmetic"]["samples_expected"] == 128


def evaluation(model: Path, folder: Path) -> list[str]:
    """One sequence at a time: a batch's sums are rounded by what else is in it."""
    options = ["--datasets", "arithmetic", "--limit", 64, "--num-samples", 2, "--max-tokens", 64, "--engines", 2]
    options += ["--engine", "transformers", "--device", "cpu", "--max-num-seqs", 1, "--output-dir", folder]
    return deepscaler("evaluate", "--model", model, *options)
