"""Holds what merging and resharding share: one at a time in a run, in a process of its own, within a bounded time."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deepscaler.runs.checkpoints import Checkpoint
from deepscaler.system.errors import UserError
from deepscaler.system.files import in_bytes, locked

DEADLINE = 3600.0
"""Fewest seconds after which the command is taken to hang; also how long another process is waited for."""

SLOWEST = 10_000_000
"""Bytes of a checkpoint a second below which it is taken to hang: a large model takes longer than a small one."""

POLL = 0.5


@contextmanager
def alone(folder: Path, doing: str, say: Callable[[str], None]) -> Iterator[None]:
    """Waits until no other process does the same in a folder, and keeps others waiting meanwhile.

    Raises UserError if another process takes too long, or if the folder cannot be written.
    """
    # Not refused at once: a launcher ends a training or a chain for good after such an error, and the other process,
    # which somebody started by hand, perhaps makes the very thing.
    busy = UserError(f"another process is {doing}: wait for it, or end it, then rerun the same command")
    deadline, told = time.monotonic() + DEADLINE, False
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder, busy))
                break
            except UserError as error:
                if error is not busy or time.monotonic() > deadline:
                    raise
            if not told:
                say(f"Another process is {doing}: waiting for it ...")
                told = True
            time.sleep(POLL)
        yield


def run_apart(command: Sequence[str], log: Path, checkpoint: Checkpoint, doing: str) -> int:
    """Runs a command that reads a checkpoint, its output in a log; returns its exit code.

    Raises UserError, and kills it, after the time in which even a slow disk would have read the checkpoint.
    """
    size = sum(checkpoint.sizes.values())
    seconds = max(DEADLINE, size / SLOWEST)
    # Without GPUs: it must not take memory from a training that runs beside it.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    try:
        with log.open("wb") as output:
            return subprocess.run(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment, timeout=seconds, check=False
            ).returncode
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{doing} {checkpoint.path} ({in_bytes(size)}) has not ended after {seconds:,.0f} s: look whether its disk"
            " answers, then rerun the same command"
        ) from None
