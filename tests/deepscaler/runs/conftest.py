"""A run folder with checkpoints as verl writes them, small."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deepscaler.runs.checkpoints import PARTS, PREFIX
from deepscaler.runs.folder import Attempt, RunFolder

WriteCheckpoint = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


@pytest.fixture
def write_checkpoint() -> WriteCheckpoint:
    """Write what verl would have written in an attempt at a step."""

    def write(attempt: Attempt, step: int, world_size: int = 2, tracked: bool = True) -> Path:
        path = attempt.checkpoints / f"{PREFIX}{step}"
        (path / "actor").mkdir(parents=True)
        for part in PARTS:
            for rank in range(world_size):
                torch.save({part: torch.arange(500)}, path / f"actor/{part}_world_size_{world_size}_rank_{rank}.pt")
        (path / "actor/fsdp_config.json").write_text(f'{{"FSDP_version": 2, "world_size": {world_size}}}')
        torch.save({"step": step}, path / "data.pt")
        if tracked:
            (attempt.checkpoints / "latest_checkpointed_iteration.txt").write_text(str(step))
        return path

    return write
