"""Coordinates the start and end of pods through the folder that they share, without contacting other machines.

attempts/0004/attempt.json  {"host": "train-8k-x7k2p-head-9wzqd", ...}    the pod that is working
attempts/0004/heartbeat     changes while it lives
attempts/0004/stop          asks it to save and end

A pod that is taken away (deleted, evicted, drained, preempted) runs `stop` first, on the head and on every worker, so
the training saves while all machines are still there. The head stays a little longer, until the operator has seen the
end of the job (deepscaler.kubernetes.pod.ray_job). No signal would do this: KubeRay deletes pods without stopping the
job, a worker that is drained has no driver to signal, and `ray job stop` sends SIGTERM to verl's processes, too. The
next head runs `wait` first, so two heads never overlap (deepscaler.kubernetes.pod.beside).
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from deepscaler.runs.fence import STALE, Pulse
from deepscaler.runs.folder import Attempt
from deepscaler.runs.outputs import unfinished_attempts

GRACE = 900
"""Seconds that a training has to finish its step and save before its pod ends; DeepScaleR's steps take 10 minutes."""

POLL = 1.0
"""Seconds between two looks at a heartbeat."""

POD_PREFIX = 50
"""Characters of a Ray cluster's name that KubeRay copies into the names of its pods."""

REPEAT = 60.0
"""Seconds between two lines about the reason for waiting."""


def pause() -> None:
    """Waits between two looks."""
    time.sleep(POLL)


def wait_for_others(root: Path, say: Callable[[str], None], pause: Callable[[], None] = pause) -> None:
    """Waits until nothing works in a run or a chain: every attempt has ended, or its heartbeat has stopped.

    The function calls `pause` between two looks; an exception from it ends the waiting.
    """
    for attempt in unfinished_attempts(root):
        _outlast(attempt, say, pause)


def stop_training(
    root: Path, cluster: str, say: Callable[[str], None], until: float = math.inf, *, dry_run: bool = False
) -> bool:
    """Asks the living attempt of a Ray cluster to save, and waits for its end. Returns whether one has ended.

    The function waits no longer than `until`, a time of time.monotonic().
    """
    found = False
    for attempt in unfinished_attempts(root):
        # an attempt of another Ray cluster is left alone: a pod that lingers must not stop the one that
        # replaced it
        if not str(attempt.read_record().get("host", "")).startswith(f"{cluster[:POD_PREFIX]}-head"):
            continue
        if dry_run:
            say(f"{_told(attempt)} would be asked to save and end.")
            found = True
            continue
        # Every pod of a cluster that is deleted comes here; the first one's reason stays.
        if not attempt.stop_path.exists():
            attempt.stop_path.write_text(f"pod {os.environ.get('HOSTNAME', '')} is taken away", encoding="utf-8")
        found = _outlast(attempt, say, until=until) or found
    return found


def _outlast(
    attempt: Attempt, say: Callable[[str], None], pause: Callable[[], None] = pause, until: float = math.inf
) -> bool:
    """Waits for the end of an attempt. Returns whether it ended; if not, its heartbeat has stopped or time is up."""
    # the reason is said at once, and then every REPEAT seconds
    pulse, said = Pulse(attempt), -REPEAT
    while "ended" not in attempt.read_record():
        if pulse.seconds_of_silence() > STALE:
            say(f"{_told(attempt)} is dead.")
            return False
        if time.monotonic() >= until:
            say(f"{_told(attempt)} has not ended in time: the pod ends without waiting longer.")
            return False
        if time.monotonic() - said >= REPEAT:
            say(f"{_told(attempt)} has not ended: waiting for its end, or {STALE:.0f} s without a heartbeat.")
            said = time.monotonic()
        pause()
    say(f"{_told(attempt)} has ended.")
    return True


def _told(attempt: Attempt) -> str:
    return f"attempt {attempt.number} of {attempt.root.parents[1]} (on {attempt.read_record().get('host', '?')})"
