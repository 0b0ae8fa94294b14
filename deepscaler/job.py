"""Defines what a launcher starts: one `deepscaler` command on some machines. SLURM and Kubernetes add nothing to it.

Job(name="train-16k", arguments=("train", "16k", "--output-dir", "/runs/16k"), num_nodes=4, gpus_per_node=8, ...)
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from deepscaler.recipes.recipe import Device, Recipe
from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig, to_arguments

Image = Literal["train", "eval", "cpu"]
"""A target of docker/Dockerfile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One command, its machines, and the image that holds what it needs."""

    name: str
    """Lower case letters, digits and hyphens; what the scheduler lists."""
    arguments: tuple[str, ...]
    """Arguments of `deepscaler`, which runs once, on the first machine, with RAY_ADDRESS if `ray` is true."""
    num_nodes: int = 1
    gpus_per_node: int = 0
    image: Image = "cpu"
    """Target of docker/Dockerfile: `train`, `eval` or `cpu`."""
    whole_nodes: bool = True
    """True if it fills its machines; an engine on one GPU shares a machine with others."""
    ray: bool = False
    """True if a Ray cluster over all machines must exist before the command starts."""
    model: str = ""
    """Hub id or folder that must be there; empty if another job makes it."""
    datasets: tuple[str, ...] = ()
    """Prepared sets that must be there."""
    reads: tuple[str, ...] = ()
    """Folders of this machine that it reads beside its own, which a container has to see."""

    @property
    def num_gpus(self) -> int:
        """Returns the number of GPUs on all machines."""
        return self.num_nodes * self.gpus_per_node

    @property
    def command(self) -> list[str]:
        """Returns the program and its arguments."""
        return ["deepscaler", *self.arguments]

    @property
    def command_line(self) -> str:
        """Returns the command for a POSIX shell: nothing in an argument is expanded or ends it."""
        return shlex.join(self.command)


def train_job(recipe: Recipe, arguments: Sequence[str], device: Device = "cuda", reads: tuple[str, ...] = ()) -> Job:
    """Returns the job of `deepscaler train`: as many machines and GPUs as the recipe says.

    On a CPU a rank of the recipe is a pretended GPU: the Ray nodes offer as many, the scheduler gives none.
    """
    return Job(
        name=f"train-{recipe.name}",
        arguments=tuple(arguments),
        num_nodes=recipe.num_nodes,
        gpus_per_node=recipe.gpus_per_node,
        image="train" if device == "cuda" else "cpu",
        ray=True,
        model=recipe.model,
        datasets=recipe.datasets,
        reads=reads,
    )


def evaluate_job(config: EvaluationConfig, *, num_nodes: int = 1, gpus_per_node: int = 0) -> Job:
    """Returns the job of `deepscaler evaluate`: several engines need Ray, one needs a machine, gathering needs no GPU.

    Raises UserError if the machines have no room for the engines.
    """
    if config.engine == "openai":  # the GPUs are the server's
        own = (config.data_dir, config.source, Path(config.tokenizer or config.model))
        return Job(
            name=f"evaluate-{_as_name(PurePath(config.model).name)}",
            arguments=tuple(to_arguments(config)),
            datasets=config.datasets,
            reads=tuple(str(path) for path in own if path and path.is_dir()),
        )
    size = config.tensor_parallel_size if config.device == "cuda" else 0
    num_engines = 0 if config.gather else max(config.engines, 1)
    per_node = gpus_per_node // size if size else num_engines
    if num_engines > num_nodes * per_node or (num_nodes > 1 and not config.engines):
        raise UserError(
            f"{num_nodes} machines with {gpus_per_node} GPUs each do not suit {num_engines} engines with {size} GPUs"
            " each: an engine uses GPUs of one machine, and several machines need --engines"
        )
    reads = (config.data_dir, config.source, Path(config.model))
    return Job(
        name=f"evaluate-{_as_name(PurePath(config.model).name)}",
        arguments=tuple(to_arguments(config)),
        num_nodes=num_nodes,
        gpus_per_node=gpus_per_node,
        image="eval" if config.device == "cuda" else "cpu",
        ray=config.engines > 0,
        model="" if "://" in config.model else config.model,  # a bucket is read where the job runs
        datasets=config.datasets,
        reads=tuple(str(path) for path in reads if path and path.is_dir()),
    )


def _as_name(text: str) -> str:
    """Returns a text as lower case letters, digits and hyphens, at most 30."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:30].strip("-") or "model"
