"""Holds: a checkpoint that is merged or uploaded, on whatever machine, is not pruned meanwhile.

checkpoints/.held/40-3f2a91c0      one file for each process that reads the checkpoint of step 40, touched while it does
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from deepscaler.runs.folder import RunFolder
from deepscaler.system.repeat import repeating

HOLDS = ".held"

TOUCH = 10.0
"""Seconds between two signs that a hold is meant."""

FORGOTTEN = 120.0
"""Seconds without such a sign after which a hold no longer counts: its process was killed."""


@contextmanager
def held(run: RunFolder, step: int) -> Iterator[None]:
    """Keeps a checkpoint from being pruned while it is read; whether it is still there is to be looked at inside.

    Raises OSError if the run's folder cannot be written.
    """
    # A file of its own for each holder: a shared one with a count would be wrong for ever after a kill.
    hold = run.checkpoints / HOLDS / f"{step}-{secrets.token_hex(4)}"
    hold.parent.mkdir(parents=True, exist_ok=True)
    hold.touch()
    try:
        with repeating(hold.touch, TOUCH, "hold"):
            yield
    finally:
        hold.unlink(missing_ok=True)


def is_held(run: RunFolder, step: int) -> bool:
    """Returns whether a living process reads a checkpoint; what dead ones left is removed."""
    holds = [path for path in (run.checkpoints / HOLDS).glob("*") if path.name.partition("-")[0] == str(step)]
    now = _file_time(run) if holds else 0.0
    living = False
    for hold in holds:
        with suppress(OSError):
            if now - hold.stat().st_mtime < FORGOTTEN:
                living = True
            else:
                hold.unlink()
    return living


def _file_time(run: RunFolder) -> float:
    """Returns the time by the clock that dates files here, which on a shared file system may be another machine's."""
    probe = run.checkpoints / HOLDS / ".now"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
