"""Starts a task's Python on a node, by one class for each runtime. A site file may name a class of its own.

>>> Apptainer(image="/images/kit-{target}.sif").start(Task(target="train", folders=("/runs/16k",)))
Start(python="apptainer exec --bind /runs/16k:/runs/16k --writable-tmpfs ... /images/kit-train.sif python3")
"""

import shlex
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from deepscaler.system.errors import UserError
from slurm.cluster import ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Describes the task that a runtime starts, the same on every node of a job."""

    target: str
    """Target of docker/Dockerfile whose image the task needs: train, eval or cpu."""
    folders: tuple[str, ...]
    """Folders that the task reads and writes; the first one is the run's own, an empty one counts for nothing."""
    variables: tuple[str, ...] = ()
    """Names of the variables that the batch script exports; they must win over an image's own."""
    gpus: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Says how to start the task: `srun SRUN_ARGUMENTS PYTHON -u -m submitit...`."""

    python: str
    """Shell command that takes the arguments of a Python interpreter."""
    srun_arguments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Runtime(ABC):
    """Starts Python on a node. Derive from this class, or from Container, to add a runtime; `start` must be written.

    The fields come from the site file, with variables and ~ expanded. All of this runs where jobs are submitted, so
    nodes need not have the module.
    """

    image: str = ""
    """Image of the container, in which {target} stands for train, eval or cpu."""
    mounts: tuple[str, ...] = ()
    """Further folders of the container: SOURCE or SOURCE:TARGET."""
    python: str = ""
    """Interpreter on the nodes; empty for this runtime's own choice."""

    is_container: ClassVar[bool] = False
    """True if tasks see only the mounted folders; then caches must be in one of them, and an image must be given."""
    example_image: ClassVar[str] = ""
    """Image that `slurm init` writes into a first site file."""

    @abstractmethod
    def start(self, task: Task) -> Start:
        """Returns the command that starts a task's Python."""

    def environment(self, variables: dict[str, str]) -> dict[str, str]:
        """Returns what the batch script exports, given the variables that tasks must see."""
        return variables

    def check(self, targets: Collection[str], models: Collection[str]) -> None:  # noqa: B027  most need none
        """Raises UserError, before anything is submitted, for what tasks with these images and models would lack."""

    @classmethod
    def is_available(cls) -> bool:
        """Returns whether `slurm init` may choose this runtime on this cluster."""
        return False


class Bare(Runtime):
    """Starts the interpreter of a shared environment, without a container."""

    def start(self, task: Task) -> Start:
        """Returns the site's interpreter, or the one that submits."""
        # sys.executable is not resolved: the link in a virtual environment's bin is what makes Python use that
        # environment.
        return Start(python=shlex.quote(self.python or sys.executable))

    def check(self, targets: Collection[str], models: Collection[str]) -> None:
        """Raises UserError for an interpreter or a model's folder that is not here: nodes see the same paths."""
        if self.python and shutil.which(self.python) is None:
            raise UserError(
                f"python = {self.python!r} in the site file is not a program here; nodes need the same path"
            )
        for model in models:
            if model.startswith(("/", ".", "~")) and not Path(model).is_dir():
                raise UserError(f"model {model} is not a folder here; nodes need the same path")

    @classmethod
    def is_available(cls) -> bool:
        """Returns True: it is what remains where no container runtime is."""
        return True


class Container(Runtime):
    """Shares what container runtimes have in common: an image for each target, and folders to mount."""

    is_container = True

    def image_of(self, task: Task) -> str:
        """Returns the image that a task needs."""
        return self.image.replace("{target}", task.target)

    def interpreter(self) -> str:
        """Returns the image's interpreter: the environment that submits is not in there."""
        return self.python or "python3"

    def mounts_of(self, task: Task) -> list[str]:
        """Returns SOURCE:TARGET for each folder of a task and of the site, without repetition."""
        return list(dict.fromkeys(_mount(folder) for folder in (*task.folders, *self.mounts) if folder))

    def check(self, targets: Collection[str], models: Collection[str]) -> None:
        """Raises UserError for an image file that is missing; a registry's image and a model may be there unseen."""
        # Only a path can be looked for here: docker://, a registry's name and enroot's own names are the node's
        # business.
        if not self.image.startswith("/"):
            return
        for target in targets:
            image = Path(self.image.replace("{target}", target))
            if not image.exists():
                raise UserError(f"image {image} is not there (target {target}); build or pull it, or change `image`")


class Pyxis(Container):
    """Starts the task by srun's own options, which NVIDIA's plug-in for enroot adds."""

    example_image = "/shared/images/deepscaler-{target}.sqsh"

    def start(self, task: Task) -> Start:
        """Returns the image's interpreter, and the options that make srun start it in the container."""
        arguments = (
            f"--container-image={self.image_of(task)}",
            f"--container-mounts={','.join(self.mounts_of(task))}",
            # enroot's root is read-only unless asked, and Ray and caches of libraries write below the image's
            # HOME.
            "--container-writable",
            # Where a site mounts HOME by default, ~/.local/lib/python3 comes along and goes before the image's
            # packages.
            "--no-container-mount-home",
            f"--container-workdir={task.folders[0]}",
            # By default pyxis passes variables on, too, but those that the image sets itself win over them.
            f"--container-env={','.join(task.variables)}",
        )
        return Start(python=shlex.quote(self.interpreter()), srun_arguments=arguments)

    @classmethod
    def is_available(cls) -> bool:
        """Returns whether srun has the plug-in's options."""
        return "--container-image" in ask("srun", "--help", check=False)


class Apptainer(Container):
    """Starts the task by `apptainer exec`."""

    example_image = "/shared/images/deepscaler-{target}.sif"

    def start(self, task: Task) -> Start:
        """Returns the whole command, which acts as an interpreter."""
        gpu = ["--nv"] if task.gpus else []
        binds = [part for mount in self.mounts_of(task) for part in ("--bind", mount)]
        # The folder that the job was submitted from is apptainer's default and need not be mounted.
        inside = ["--writable-tmpfs", "--pwd", task.folders[0], self.image_of(task), self.interpreter()]
        return Start(python=shlex.join(["apptainer", "exec", *gpu, *binds, *inside]))

    def environment(self, variables: dict[str, str]) -> dict[str, str]:
        """Returns each variable twice: an image's variables win over all but those with the prefix."""
        return variables | {f"APPTAINERENV_{name}": value for name, value in variables.items()}

    @classmethod
    def is_available(cls) -> bool:
        """Returns whether apptainer is installed here."""
        return shutil.which("apptainer") is not None


RUNTIMES: dict[str, type[Runtime]] = {"pyxis": Pyxis, "apptainer": Apptainer, "bare": Bare}
"""Runtimes by the name that a site file gives; `slurm init` takes the first one that is available."""


def _mount(folder: str) -> str:
    if "," in folder or folder.count(":") > 1:
        raise UserError(
            f"a container cannot be given the folder {folder!r}: choose one without commas and colons in its path"
        )
    return folder if ":" in folder else f"{folder}:{folder}"
