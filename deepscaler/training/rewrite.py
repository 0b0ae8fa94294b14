"""Runs a merge or a reshard in a process of its own, within a bounded time."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deepscaler.runs.checkpoints import Checkpoint
from deepscaler.system.errors import UserError
from deepscaler.system.files import in_bytes
from deepscaler.system.processes import kill, start

DEADLINE = 3600.0
"""Fewest seconds after which the command is taken to hang."""

SLOWEST = 10_000_000
"""Bytes of a checkpoint a second below which it is taken to hang: a large model takes longer than a small one."""


def seconds_allowed(checkpoint: Checkpoint) -> float:
    """Returns the seconds in which even a slow disk would have read a checkpoint."""
    return max(DEADLINE, sum(checkpoint.sizes.values()) / SLOWEST)


def run_apart(command: Sequence[str], log: Path, checkpoint: Checkpoint, doing: str) -> int:
    """Runs a command that reads a checkpoint, its output in a log; returns its exit code.

    Raises UserError, and kills it, after `seconds_allowed`.
    """
    seconds = seconds_allowed(checkpoint)
    # Without GPUs: it must not take memory from a training that runs beside it.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    # Under a guardian: if the process that waits is killed, one that reads gigabytes must not work for minutes more.
    process = start(
        command,
        log=log,
        environment=environment,
        # SLURM signals every process of a job, and a training that is asked to stop here has not failed.
        ignored_signals=(signal.SIGTERM, signal.SIGUSR2),
        own_session=False,
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        size = in_bytes(sum(checkpoint.sizes.values()))
        raise UserError(
            f"{doing} {checkpoint.path} ({size}) has not ended after {seconds:,.0f} s: check whether its disk"
            " answers, then rerun the same command"
        ) from None
    finally:
        kill(process)
