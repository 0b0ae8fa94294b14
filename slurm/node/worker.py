"""Runs a worker: joins Ray, stays until the head ends the job, and leaves nothing behind."""

import signal
import time

from deepscaler.system.exit_codes import AGAIN
from deepscaler.system.files import write_text
from slurm.job_folder import read_joined
from slurm.node.examine import examine_node
from slurm.node.node import Node
from slurm.node.patience import POLL, Patience
from slurm.node.ray import IGNORED, ray_node

NOT_SHARED = "the run's folder is not on a file system that they share"


def run_worker(node: Node) -> int:
    """Returns 0 when the head has ended the job, 75 where this node's Ray did not join or died."""
    for number in IGNORED:  # the command on the head decides, and needs this node until it has saved
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)  # begin.py holds them back: now they are gone
    deadline = time.monotonic() + node.task.join_seconds
    patience = Patience()
    # The token is the last thing that the head prepares before its Ray.
    while True:
        with patience.bear():
            if node.attempt.token_path.is_file():
                break
            if node.attempt.over_path.exists():
                return 0
        if time.monotonic() > deadline:
            seconds = f"{node.task.join_seconds:.0f} s"
            return _fail(node, f"{node.names[0]}, the head, did not begin within {seconds}, or {NOT_SHARED}")
        time.sleep(POLL)
    if failed := examine_node(node):
        return _fail(node, failed)
    ray = ray_node(node)
    try:
        while True:
            with patience.bear():
                if node.attempt.over_path.exists():
                    return 0
                joined = node.name in read_joined(node.attempt)
                code = ray.ended()
                # Before it has joined, an end of Ray is tried again: raylets race the head, and Ray gives up sooner
                # than a cold file system.
                if joined and code is not None:
                    return _fail(node, f"Ray ended with code {code}; see {ray.log}")
                if not joined and time.monotonic() > deadline:
                    return _fail(node, f"Ray did not join within {node.task.join_seconds:.0f} s; see {ray.log}")
                head = node.attempt.read(node.attempt.head_path).get("address")
                # The address is read at every look, because a head that is started again may listen on another
                # port.
                if not joined and head and (ray.process is None or code is not None):
                    node.say(f"joining {head}" if ray.process is None else f"joining again: Ray ended with code {code}")
                    ray.start_worker(str(head))
            time.sleep(POLL)
    finally:
        ray.stop()


def _fail(node: Node, reason: str) -> int:
    """Reports a failure to the head at once: SLURM's own signal may take half a minute."""
    node.say(reason)
    write_text(node.attempt.failed_path(node.name), f"{node.name}: {reason}")
    return AGAIN
