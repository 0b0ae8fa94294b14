"""Measures the parts of a training step, and the kit's overhead over verl alone: `python bench/step.py`.

The script trains the same recipe, model and data alternately in two ways. One is `python -m verl.trainer.main_ppo` with
no part of the kit except its CPU plug-in (a reward function of five lines, verl's own checkpoints). The other is
`deepscaler train`. Only steps of one run of the script are compared, without the first step of each start, which warms
up.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepscaler.data import load_problems
from deepscaler.data.prepare import parquet_path
from deepscaler.models.smollm import small_model
from deepscaler.recipes.load import recipe_named
from deepscaler.recipes.recipe import Recipe
from deepscaler.system.paths import data_dir, short_temporary_folder
from deepscaler.system.processes import deepscaler_command, python_command
from deepscaler.training.start import KEEP_MEMORY
from deepscaler.verl_plugin.overrides import RunPaths, to_arguments, to_overrides

PARTS = {
    "rollout and reward": "timing_s/gen",
    "old log-probabilities": "timing_s/old_log_prob",
    "advantages": "timing_s/adv",
    "update": "timing_s/update_actor",
    "weights to the rollout": "timing_s/update_weights",
    "checkpoint": "timing_s/save_checkpoint",
}
# parts of the keys by which the kit puts its own classes into verl
OURS = ("checkpoint_callback_class", "reward_manager", "reward_kwargs", "custom_reward_function")
PLAIN_REWARD = r"""
def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    box = solution_str.rpartition("\\boxed{")[2].partition("}")[0]
    return float(box in list(ground_truth))
"""


def main() -> None:
    """Alternates between the two ways, then prints the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6, help="steps of each start (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=2, help="starts of each kind (default: %(default)s)")
    arguments = parser.parse_args()
    model = str(small_model(print))
    # more than there are steps: a validation would count as the time of its step
    recipe = replace(recipe_named("quickstart"), model=model, num_steps=arguments.steps, validate_every=1000)
    for name in recipe.datasets:
        # prepared here, because verl alone expects the files
        load_problems(name, data_dir())
    measured: dict[str, list[dict[str, float]]] = {"verl": [], "kit": []}
    with tempfile.TemporaryDirectory(prefix="bench-step-") as folder:
        for repeat in range(arguments.repeats):
            for kind, start in (("verl", run_verl), ("kit", run_kit)):
                print(f"{kind}, start {repeat + 1} of {arguments.repeats} ...", flush=True)
                measured[kind] += start(recipe, Path(folder, f"{kind}-{repeat}"))
    tell(measured)


def run_verl(recipe: Recipe, folder: Path) -> list[dict[str, float]]:
    """Trains with verl alone; returns the metrics of all steps except the first."""
    folder.mkdir()
    reward, metrics = folder / "reward.py", folder / "metrics.jsonl"
    reward.write_text(PLAIN_REWARD, encoding="utf-8")
    paths = RunPaths(
        model=recipe.model,
        train_files=tuple(parquet_path(name, data_dir()) for name in recipe.train_dataset),
        validation_files=tuple(parquet_path(name, data_dir()) for name in recipe.validation_dataset),
        run_dir=folder,
        checkpoint_dir=folder / "checkpoints",
        own_ray=True,
    )
    overrides = to_overrides(recipe, paths, "cpu")
    plain = {key: value for key, value in overrides.items() if not any(ours in key for ours in OURS)}
    plain |= {"reward.custom_reward_function.path": str(reward), "trainer.val_before_train": False}
    environment = {
        **os.environ,
        "RAY_TMPDIR": tempfile.mkdtemp(prefix="dsr-", dir=short_temporary_folder()),
        "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": "deepscaler.verl_plugin.cpu.platform",
        "VERL_FILE_LOGGER_PATH": str(metrics),
        "TENSORBOARD_DIR": str(folder / "tensorboard"),
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
        # Both ways get it: how glibc returns memory is not what is compared.
        **KEEP_MEMORY,
    }
    command = python_command("-m", "verl.trainer.main_ppo", *to_arguments(plain))
    with (folder / "log").open("wb") as log:
        subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=True)
    return read_steps(metrics)


def run_kit(recipe: Recipe, folder: Path) -> list[dict[str, float]]:
    """Trains with `deepscaler train`; returns the metrics of all steps except the first."""
    changes = {name: getattr(recipe, name) for name in ("model", "num_steps", "validate_every")}
    command = deepscaler_command(["train", recipe.name, "--device", "cpu", "--output-dir", str(folder)])
    command += [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return read_steps(folder / "attempts/0001/metrics.jsonl")


def read_steps(path: Path) -> list[dict[str, float]]:
    """Returns the metrics of the steps after the first."""
    entries: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    steps = [entry["data"] for entry in entries if "timing_s/step" in entry["data"]]
    # The first one compiles and fills caches.
    return steps[1:]


def tell(measured: dict[str, list[dict[str, float]]]) -> None:
    """Prints the median seconds of each part, and the ratio of seconds per token, because lengths differ by start."""
    print(f"{'':24}{'verl':>8}{'kit':>8}   seconds, median of {len(measured['kit'])} steps")
    for label, key in {**PARTS, "step": "timing_s/step"}.items():
        medians = [statistics.median(step.get(key, 0.0) for step in measured[kind]) for kind in ("verl", "kit")]
        print(f"{label:24}{medians[0]:8.2f}{medians[1]:8.2f}")
    per_token = {
        kind: statistics.median(step["timing_s/step"] / step["perf/total_num_tokens"] for step in steps)
        for kind, steps in measured.items()
    }
    print(f"kit / verl, seconds per token: {per_token['kit'] / per_token['verl']:.3f}")


if __name__ == "__main__":
    main()
