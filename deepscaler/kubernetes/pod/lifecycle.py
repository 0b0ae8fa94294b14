"""A pod's beginning and end, by the folder that all pods share; no process on another machine is asked.

attempts/0004/attempt.json  {"host": "train-8k-x7k2p-head-9wzqd", ...}    who is at work
attempts/0004/heartbeat     changes while it lives
attempts/0004/stop          asks it to save and end

A pod that is taken away (deleted, evicted, drained, preempted) runs `stop` first, on the head and on every worker: the
training saves while all machines are still there. The next head runs `wait` first, so that two never overlap.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from deepscaler.runs.fence import STALE, Pulse
from deepscaler.runs.folder import Attempt
from deepscaler.runs.outputs import unfinished_attempts

POLL = 1.0
"""Seconds between two looks at a heartbeat."""

POD_PREFIX = 50
"""Characters of a Ray cluster's name that KubeRay takes over into the names of its pods."""

REPEAT = 60.0
"""Seconds between two lines that say what is waited for."""


def wait_for_others(root: Path, say: Callable[[str], None]) -> None:
    """Returns when nothing is at work in a run or a chain: every attempt has ended, or its heartbeat stands still."""
    for attempt in unfinished_attempts(root):
        _outlast(attempt, say)


def stop_training(root: Path, cluster: str, say: Callable[[str], None], *, dry_run: bool = False) -> None:
    """Asks the living attempt of a Ray cluster to save, and returns when it has ended.

    Attempts of other Ray clusters are left alone: a pod that lingers must not stop the one that replaced it.
    """
    for attempt in unfinished_attempts(root):
        if not str(attempt.read_record().get("host", "")).startswith(f"{cluster[:POD_PREFIX]}-head"):
            continue
        if dry_run:
            say(f"{_told(attempt)} would be asked to save and end.")
            continue
        if not attempt.stop_path.exists():
            attempt.stop_path.write_text(f"pod {os.environ.get('HOSTNAME', '')} is taken away", encoding="utf-8")
        _outlast(attempt, say)


def _outlast(attempt: Attempt, say: Callable[[str], None]) -> None:
    """Waits until an attempt has ended, or has shown no sign of life for a while."""
    pulse, said = Pulse(attempt), -REPEAT
    while "ended" not in attempt.read_record():
        if pulse.seconds_of_silence() > STALE:
            say(f"{_told(attempt)} is dead.")
            return
        if time.monotonic() - said >= REPEAT:
            say(f"{_told(attempt)} has not ended: waiting for its end, or {STALE:.0f} s without a heartbeat.")
            said = time.monotonic()
        time.sleep(POLL)
    say(f"{_told(attempt)} has ended.")


def _told(attempt: Attempt) -> str:
    return f"attempt {attempt.number} of {attempt.root.parents[1]} (on {attempt.read_record().get('host', '?')})"
