"""From a bound run to the command that trains it: verl's trainer, its overrides, its environment, its Ray."""

import os
import secrets
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.checkpoints import PREFIX, Checkpoint
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.training.manifest import Inputs, TrainOptions
from deepscaler.verl_plugin.overrides import RunPaths, to_arguments, to_overrides

VERL = (sys.executable, "-m", "verl.trainer.main_ppo")
WANDB_PROJECT = "deepscaler"

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 28)}
"""glibc gives large blocks back at once; then a step on a CPU spends a third of its time on page faults.

The environment may say otherwise, where memory is dearer than time.
"""


@dataclass(frozen=True, slots=True)
class Launch:
    """A command ready to start."""

    command: list[str]
    environment: dict[str, str]
    ray_dir: Path | None
    """Of the Ray that the command starts: sockets and logs; None where it joins one."""

    def clean_up(self) -> None:
        """Remove what a local Ray leaves."""
        if self.ray_dir:
            shutil.rmtree(self.ray_dir, ignore_errors=True)


def prepare_launch(
    run: RunFolder,
    attempt: Attempt,
    recipe: Recipe,
    inputs: Inputs,
    options: TrainOptions,
    checkpoint: Checkpoint | None,
    console: Console,
) -> Launch:
    """Decide where to go on from, and write it into the attempt's record.

    At the checkpoint's own world size verl loads it. At another one it cannot (its shards are by rank): training goes
    on from the merged model, with a new optimiser, and verl counts anew from step 0.
    """
    offset, resume = 0, None
    if checkpoint:
        offset = checkpoint.step - checkpoint.verl_step
        if checkpoint.world_size == recipe.world_size:
            resume = _link(attempt, checkpoint)
            console.print(f"Going on from the checkpoint of step {checkpoint.step}.")
        else:
            from deepscaler.training.merge import merge  # noqa: PLC0415

            console.print(
                f"The checkpoint of step {checkpoint.step} was written by {checkpoint.world_size} ranks, now there are"
                f" {recipe.world_size}: going on from its merged model, with a new optimiser.",
                soft_wrap=True,
            )
            offset, inputs = checkpoint.step, replace(inputs, model=str(merge(run, console)))
    attempt.update_record(resumed_step=checkpoint.step if checkpoint else 0, step_offset=offset)
    ray_dir = None if os.environ.get("RAY_ADDRESS") else Path(tempfile.mkdtemp(prefix="dsr-"))
    settings = _settings(run, attempt, recipe, options, offset)
    paths = RunPaths(
        model=inputs.model,
        train_file=inputs.train_file,
        validation_file=inputs.validation_file,
        run_dir=run.root,
        checkpoint_dir=attempt.checkpoints,
        resume_from=resume,
        step_offset=offset,
        ray_dir=ray_dir,
        environment=settings,
        wandb=options.wandb != "off",
    )
    arguments = to_arguments(to_overrides(recipe, paths, options.device))
    environment = {**os.environ, **settings, **(_local_ray(ray_dir) if ray_dir else {})}
    environment.pop("ROCR_VISIBLE_DEVICES", None)  # verl refuses it beside CUDA_VISIBLE_DEVICES
    return Launch([*VERL, *arguments], environment, ray_dir)


def _settings(run: RunFolder, attempt: Attempt, recipe: Recipe, options: TrainOptions, offset: int) -> dict[str, str]:
    """Environment that every process of the run needs, on every machine. No secrets: verl prints it."""
    settings = {
        "DEEPSCALER_RUN_DIR": str(run.root),
        "DEEPSCALER_ATTEMPT": str(attempt.number),
        "DEEPSCALER_KEEP_CHECKPOINTS": str(options.keep_checkpoints),
        "VERL_FILE_LOGGER_PATH": str(attempt.metrics_path),
        "TENSORBOARD_DIR": str(run.root / "tensorboard" / f"{attempt.number:04}"),
    }
    if options.device == "cpu":
        settings |= {
            "VERL_PLATFORM": "cpu",
            "VERL_USE_EXTERNAL_MODULES": "deepscaler.verl_plugin.cpu.platform",
            "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // recipe.gpus_per_node)),
            **{name: os.environ.get(name, value) for name, value in KEEP_MEMORY.items()},
        }
    if options.wandb != "off":
        settings |= {
            "WANDB_MODE": options.wandb,
            "WANDB_DIR": str(run.root),
            "WANDB_RUN_GROUP": run.root.parent.name,
            "WANDB_RUN_ID": f"{run.root.name}-{run.root.stat().st_ino:x}-{offset}",
            "WANDB_RESUME": "allow",
        }
    return settings


def _local_ray(ray_dir: Path) -> dict[str, str]:
    """Token authentication for the Ray that verl starts on this machine."""
    token = ray_dir / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32), encoding="ascii")
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}


def _link(attempt: Attempt, checkpoint: Checkpoint) -> Path:
    """The checkpoint under the name from which verl reads its own step."""
    link = attempt.root / "resume" / f"{PREFIX}{checkpoint.verl_step}"
    link.parent.mkdir()
    link.symlink_to(checkpoint.path)
    return link
