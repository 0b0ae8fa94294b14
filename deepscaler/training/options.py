"""Where and how a recipe is trained: what changes the place, never the result."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Of one run."""

    run_dir: Path
    device: str = "cuda"
    """`cuda`, or `cpu` for machines without one (see deepscaler.cpu)."""
    data_dir: Path | None = None
    keep_checkpoints: int = 2
    """The newest ones; each holds weights and optimiser, 12 bytes a parameter."""
    deadline: float | None = None
    """Unix seconds at which the machine will be taken away."""
    wandb: str = "off"
    """`off`, `offline` or `online`."""
