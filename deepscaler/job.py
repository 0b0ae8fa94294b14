"""What a launcher starts: one `deepscaler` command on some machines. SLURM and Kubernetes render it, and add nothing.

Job(name="train-16k", arguments=("train", "16k", "--output-dir", "/runs/16k"), num_nodes=4, gpus_per_node=8, ...)
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from deepscaler.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One command, its machines, and the image that holds what it needs."""

    name: str
    """Lower case letters, digits and hyphens; what the scheduler lists."""
    arguments: tuple[str, ...]
    """Of `deepscaler`. The command runs once, on the first machine, with RAY_ADDRESS set where `ray` is."""
    num_nodes: int = 1
    gpus_per_node: int = 0
    image: str = "cpu"
    """Target of docker/Dockerfile: `train`, `eval` or `cpu`."""
    ray: bool = False
    """Whether a Ray cluster over all machines has to stand before the command starts."""
    model: str = ""
    """Hub id or folder that must be there; empty where another job makes it."""
    datasets: tuple[str, ...] = ()
    """Prepared sets that must be there."""

    @property
    def num_gpus(self) -> int:
        """In all."""
        return self.num_nodes * self.gpus_per_node

    @property
    def command(self) -> list[str]:
        """Program and arguments."""
        return ["deepscaler", *self.arguments]

    @property
    def command_line(self) -> str:
        """The command for a POSIX shell: nothing in an argument is expanded or ends it."""
        return shlex.join(self.command)


def train_job(recipe: Recipe, arguments: Sequence[str], device: str = "cuda") -> Job:
    """The job of `deepscaler train`: as many machines and GPUs as the recipe says.

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
        datasets=(recipe.train_dataset, recipe.validation_dataset),
    )
