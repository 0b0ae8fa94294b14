"""One start of a run, as far as it is known before anything is written: what `--dry-run` prints and what is launched.

Start(...).command      [".../python", "-P", "-m", "verl.trainer.main_ppo", "data.train_batch_size=128", ...]
Start(...).environment  {"DEEPSCALER_RUN_DIR": "/runs/8k", "DEEPSCALER_ATTEMPT": "3", ...}
"""

import os
from dataclasses import dataclass
from pathlib import Path

from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.checkpoints import PREFIX, Checkpoint
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.runs.metrics import read_metrics, validation_means
from deepscaler.system.paths import cache_dir, compiled_caches
from deepscaler.system.processes import python_command
from deepscaler.training.manifest import Inputs, TrainOptions
from deepscaler.verl_plugin.overrides import RunPaths, to_arguments, to_overrides

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 28)}
"""glibc gives large blocks back at once; then a step on a CPU spends a third of its time on page faults.

The environment may say otherwise, where memory is dearer than time.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What is trained, where, with what, and from which checkpoint."""

    run: RunFolder
    attempt: Attempt
    recipe: Recipe
    options: TrainOptions
    inputs: Inputs
    checkpoint: Checkpoint | None = None
    """The newest one; None at the beginning of the run."""

    @property
    def resumes(self) -> bool:
        """Whether verl can load the checkpoint: its shards are by rank, so only at the checkpoint's own world size."""
        return self.checkpoint is not None and self.checkpoint.world_size == self.recipe.world_size

    @property
    def continues_merged(self) -> bool:
        """Whether training continues from the merged model, with a new optimizer, and verl counts from 0 again."""
        return self.checkpoint is not None and not self.resumes

    @property
    def step_offset(self) -> int:
        """The number of steps of the run before verl's count."""
        if self.checkpoint is None:
            return 0
        return self.checkpoint.step - (self.checkpoint.verl_step if self.resumes else 0)

    @property
    def validates_first(self) -> bool:
        """Whether verl validates before the first step: at the beginning, and what a kill left without a judgment."""
        if self.checkpoint is None or not self.resumes:
            return True
        return self.recipe.keep_best > 0 and self.checkpoint.step not in validation_means(read_metrics(self.run))

    @property
    def resume_link(self) -> Path | None:
        """The name under which verl loads the checkpoint: it reads its own step from it."""
        if self.checkpoint is None or not self.resumes:
            return None
        return self.attempt.root / "resume" / f"{PREFIX}{self.checkpoint.verl_step}"

    @property
    def has_own_ray(self) -> bool:
        """Whether verl starts a Ray on this machine, instead of joining the one at RAY_ADDRESS."""
        return not os.environ.get("RAY_ADDRESS")

    @property
    def command(self) -> list[str]:
        """The trainer with every override, to be started in the attempt's folder with `environment`."""
        paths = RunPaths(
            model=str(self.run.model) if self.continues_merged else self.inputs.model,
            train_files=self.inputs.train_files,
            validation_files=self.inputs.validation_files,
            run_dir=self.run.root,
            checkpoint_dir=self.attempt.checkpoints,
            resume_from=self.resume_link,
            validate_first=self.validates_first,
            step_offset=self.step_offset,
            own_ray=self.has_own_ray,
            environment=self.environment,
            wandb=self.options.wandb != "off",
        )
        arguments = to_arguments(to_overrides(self.recipe, paths, self.options.device))
        return python_command("-m", "verl.trainer.main_ppo", *arguments)

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the run needs, on every machine. No secrets: verl prints it."""
        settings = {
            "DEEPSCALER_RUN_DIR": str(self.run.root),
            "DEEPSCALER_ATTEMPT": str(self.attempt.number),
            "VERL_FILE_LOGGER_PATH": str(self.attempt.metrics_path),
            "TENSORBOARD_DIR": str(self.run.root / "tensorboard" / self.attempt.root.name),
        }
        if self.options.device == "cuda":
            settings |= self._compiled()
        if self.options.device == "cpu":
            settings |= {
                "VERL_PLATFORM": "cpu",
                "VERL_USE_EXTERNAL_MODULES": "deepscaler.verl_plugin.cpu.platform",
                "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // self.recipe.gpus_per_node)),
                **{name: os.environ.get(name, value) for name, value in KEEP_MEMORY.items()},
            }
        if self.options.wandb != "off":  # its run's id is set by our callback, once the run's folder is there
            settings |= {
                "WANDB_MODE": self.options.wandb,
                "WANDB_DIR": str(self.run.root),
                "WANDB_RUN_GROUP": self.run.root.parent.name,
                "WANDB_RESUME": "allow",
            }
        return settings

    def _compiled(self) -> dict[str, str]:
        """Returns what keeps compiled kernels for the next start, below the kit's cache unless a site says where.

        verl turns vLLM's cache off, because engines that started at once read each other's half-written files (vllm
        #31199). torch 2.10 and later put such files in place whole, and vLLM keys them by its settings, the versions
        and the GPU.
        """
        settings = {"VLLM_DISABLE_COMPILE_CACHE": os.environ.get("VLLM_DISABLE_COMPILE_CACHE", "0")}
        folders = compiled_caches(str(cache_dir().absolute() / "compiled"))
        return settings | {name: folder for name, folder in folders.items() if name not in os.environ}
