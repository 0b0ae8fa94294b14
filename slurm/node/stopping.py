"""Lets the head hear SLURM's signals, also those that came while Python was starting: begin.py holds them back."""

import signal
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from deepscaler.system.signals import stop_signals
from slurm.node.begin import HELD


@contextmanager
def stop_requests() -> Iterator["deque[str]"]:
    """Yields the names of the signals that have come; afterwards they are held back as they were before.

    Otherwise submitit's handlers would be next, which requeue the job or raise.
    """
    with stop_signals() as requests:
        before = signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
        try:
            yield requests
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
