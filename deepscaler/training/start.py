"""Plans one start of a run before anything is written: what `--dry-run` prints and what is launched.

Start(...).command      [".../python", "-P", "-m", "deepscaler.verl_plugin.main", "data.train_batch_size=128", ...]
Start(...).environment  {"DEEPSCALER_RUN_DIR": "/runs/8k", "DEEPSCALER_ATTEMPT": "3", ...}
"""

import os
from dataclasses import dataclass
from pathlib import Path

from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.checkpoints import PREFIX, Checkpoint
from deepscaler.runs.finished import lacks_validation
from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.system.paths import cache_dir, chosen_caches, compiled_caches
from deepscaler.system.processes import python_command
from deepscaler.training.manifest import Inputs, TrainOptions
from deepscaler.verl_plugin.overrides import RunPaths, to_arguments, to_overrides

BEATS = "deepscaler.verl_plugin.beats"
"""Module that every process of verl imports with it: signs of life for the stall watcher."""

CPU_PLATFORM = "deepscaler.verl_plugin.cpu.platform"

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 28)}
"""glibc gives large blocks back at once; then a step on a CPU spends a third of its time on page faults.

The environment may say otherwise, where memory is dearer than time.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start of one attempt: what is trained, where, with what, and from which checkpoint."""

    run: RunFolder
    attempt: Attempt
    recipe: Recipe
    options: TrainOptions
    inputs: Inputs
    checkpoint: Checkpoint | None = None
    """The newest one, or its copy for this number of ranks; None at the beginning of the run."""

    @property
    def resumes(self) -> bool:
        """Returns whether verl can load the checkpoint: only at its own world size, for its shards are by rank.

        One of another world size was resharded before, if its form is known.
        """
        return self.checkpoint is not None and self.checkpoint.world_size == self.recipe.world_size

    @property
    def continues_merged(self) -> bool:
        """Returns whether training continues from the merged model with a new optimizer, and verl counts from 0."""
        return self.checkpoint is not None and not self.resumes

    @property
    def step_offset(self) -> int:
        """Returns the number of steps of the run before verl's count."""
        if self.checkpoint is None:
            return 0
        # verl counts from 0 after a merge, and a resumed run may have been merged earlier: hence the difference.
        return self.checkpoint.step - (self.checkpoint.verl_step if self.resumes else 0)

    @property
    def validates_first(self) -> bool:
        """Returns whether verl validates first: at the beginning, and where a kill took the checkpoint's validation."""
        if self.checkpoint is None or not self.resumes:
            return True
        return lacks_validation(self.run, self.recipe, self.checkpoint)

    @property
    def resume_link(self) -> Path | None:
        """Returns the name under which verl loads the checkpoint, from which it reads its own step."""
        if self.checkpoint is None or not self.resumes:
            return None
        return self.attempt.root / "resume" / f"{PREFIX}{self.checkpoint.verl_step}"

    @property
    def has_own_ray(self) -> bool:
        """Returns whether verl starts a Ray on this machine, instead of joining the one at RAY_ADDRESS."""
        return not os.environ.get("RAY_ADDRESS")

    @property
    def command(self) -> list[str]:
        """Returns the trainer's command with every override, for the attempt's folder and `environment`."""
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
        return python_command("-m", "deepscaler.verl_plugin.main", *arguments)

    @property
    def environment(self) -> dict[str, str]:
        """Returns the variables of every process of the run, on every machine. No secrets: verl prints them."""
        settings = {
            "DEEPSCALER_RUN_DIR": str(self.run.root),
            "DEEPSCALER_ATTEMPT": str(self.attempt.number),
            "VERL_USE_EXTERNAL_MODULES": self._modules,
            "VERL_FILE_LOGGER_PATH": str(self.attempt.metrics_path),
            "TENSORBOARD_DIR": str(self.run.root / "tensorboard" / self.attempt.root.name),
        }
        settings |= self._compiled()
        if self.options.device == "cpu":
            settings |= {
                "VERL_PLATFORM": "cpu",
                # Ray would set 1 for an actor with one CPU or none; ranks of one machine share its cores.
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

    @property
    def _modules(self) -> str:
        """Returns the modules that every process imports with verl, the user's own last."""
        own = os.environ.get("VERL_USE_EXTERNAL_MODULES", "")
        return ",".join([*([CPU_PLATFORM] if self.options.device == "cpu" else []), BEATS, *([own] if own else [])])

    def _compiled(self) -> dict[str, str]:
        """Returns what keeps compiled kernels for the next start, below the kit's cache unless a site says where.

        verl turns vLLM's cache off, because engines that started at once read each other's half-written files (vllm
        #31199). torch 2.10 and later put such files in place whole, and vLLM keys them by its settings, the versions
        and the GPU.
        """
        settings = {"VLLM_DISABLE_COMPILE_CACHE": os.environ.get("VLLM_DISABLE_COMPILE_CACHE", "0")}
        folders = compiled_caches(str(cache_dir().absolute() / "compiled"))
        chosen = chosen_caches()
        return settings | {name: folder for name, folder in folders.items() if name not in chosen}
