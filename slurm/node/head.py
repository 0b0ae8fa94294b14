"""Runs the head: starts Ray, waits for every node, runs the command, watches it, stops it in time, and cleans up."""

import os
import secrets
import signal
import time
from collections import deque
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

from deepscaler.runs.fence import STALE, Pulse
from deepscaler.system import processes
from deepscaler.system.exit_codes import AGAIN, BAD_INPUT, FAILED, INTERRUPTED, exit_code
from deepscaler.system.files import write_json, write_text
from slurm.cluster import how_ending
from slurm.job_folder import read_joined, write_token
from slurm.node.examine import check_alike
from slurm.node.network import answers
from slurm.node.node import FINAL, Node
from slurm.node.patience import POLL, Patience, insist
from slurm.node.ray import RayNode, ray_node
from slurm.node.scratch import use_scratch
from slurm.node.stopping import stop_requests

RESERVE = 20.0
"""Seconds before the time limit at which whatever still runs is killed, so that the job can ask for another start."""

MOST_ENDED_BY_SLURM = 20
"""Starts without progress that preemptions and lost nodes may end: they say nothing of the job, but nodes are given."""

EARLIER = 600.0
"""Seconds for which an earlier start of the job is waited for that still works on the same output."""

PATIENCE = 10.0
TAIL = 2000
"""Bytes of a log that hold its last line."""

NAMED = 8
SAY_EVERY = 15.0
"""Seconds between two lines about who is missing."""


class Outcome(NamedTuple):
    """End of a start."""

    code: int
    reason: str
    by_slurm: bool = False
    """True if SLURM ended it before its time, which says nothing about the command."""


def run_head(node: Node) -> int:
    """Returns 0 or the command's final code, 75 where another start may go better, 1 where it did not too often."""
    with stop_requests() as requests:
        return _run_start(node, requests)


def _run_start(node: Node, requests: "deque[str]") -> int:
    now = insist(node.progress)
    lost = insist(lambda: node.folder.attempts_without_progress(node.restart, now))
    attempt = insist(lambda: node.folder.begin(node.restart, now))
    if reason := _gives_up(node, *lost):
        node.say(f"giving up: {reason}; submitting again tries again")
        node.folder.end(attempt, FAILED, reason, again=False)
        return FAILED
    outcome = _run(node, requests)
    again = outcome.code not in FINAL and node.task.again
    end = partial(node.folder.end, attempt, outcome.code, outcome.reason, again=again, by_slurm=outcome.by_slurm)
    insist(end)
    after = "another start follows" if node.task.successor else "the job goes back into the queue"
    node.say(f"{outcome.reason}; {after if again else f'ending with code {outcome.code}'}")
    return AGAIN if again else outcome.code


def _gives_up(node: Node, own: int, slurms: int) -> str:
    """Returns why this start is one too many; empty if it is not."""
    if own >= node.task.max_attempts_without_progress:
        return f"{own} starts have brought no step more; see their logs in {node.folder.root}"
    if slurms >= MOST_ENDED_BY_SLURM:
        return f"SLURM has ended {slurms} starts before they brought a step more; see {node.folder.root}"
    return ""


def _run(node: Node, requests: "deque[str]") -> Outcome:
    """Returns how this start ended, with whatever it started gone."""
    attempt = node.attempt
    if requests:
        return _stopped(node, requests, "before the command began")
    if not node.task.ray:
        use_scratch(node)
        return _run_alone(node, None, dict(os.environ), requests)
    # The folder may be there already, and its `over` would send the workers away at once. This comes before the
    # token is written, since that is what workers wait for.
    attempt.over_path.unlink(missing_ok=True)
    write_token(attempt.token_path, secrets.token_hex(32))
    ray = ray_node(node)
    try:
        address = _wait_for_nodes(node, ray, requests)
        if isinstance(address, Outcome):
            return address
        check_alike(node)
        return _run_alone(node, ray, {**ray.environment(), "RAY_ADDRESS": address}, requests)
    finally:
        # Before Ray is stopped: a worker whose raylet dies without it reports a failure of the job.
        with suppress(OSError):  # else SLURM ends the workers
            write_text(attempt.over_path, "")
        ray.stop()
        with suppress(OSError):  # how the start ended says more
            attempt.token_path.unlink(missing_ok=True)


def _stopped(node: Node, requests: "deque[str]", when: str) -> Outcome:
    """Returns how a start ended in which a signal came while no command was running."""
    return _ended_by_slurm(node, requests) or Outcome(AGAIN, f"{requests[0]} came {when}", by_slurm=_is_early(node))


def _ended_by_slurm(node: Node, requests: "deque[str]") -> Outcome | None:
    """Returns how SLURM is ending the job for good, with whatever still runs; None if it leaves time to save."""
    if ending := how_ending(node.raw_job_id):
        code = INTERRUPTED if ending == "cancels" else AGAIN
        return Outcome(code, f"{requests[0]}: SLURM {ending} the job", by_slurm=_is_early(node))
    return None


def _is_early(node: Node) -> bool:
    """Returns whether the time limit is still too far away to be what SLURM has just signalled."""
    # sbatch(1): the warning may come up to a minute before its time.
    return time.time() < _end_of_allocation() - node.task.warning_seconds - 60


def _wait_for_nodes(node: Node, ray: RayNode, requests: "deque[str]") -> str | Outcome:
    """Starts Ray's head, again if it gives up, and waits until it counts every node.

    Returns the cluster's address, or how the start ended because the nodes are not all there.
    """
    started = said = time.monotonic()
    census: Popen[bytes] | None = None
    address = ""
    patience = Patience()
    try:
        while not (joined := read_joined(node.attempt)).keys() >= set(node.names):
            with patience.bear():
                if not address or ray.ended() is not None:
                    if address:
                        node.say(f"Ray's head ended with code {ray.ended()}, see {ray.log}: once more")
                    if census:
                        processes.kill(census)
                        census = None
                        node.attempt.head_path.unlink(missing_ok=True)  # no worker is to join the old one
                    address = ray.start_head()
                    node.say(f"Ray's head is starting at {address}, with {len(node.names)} nodes to come")
                # poll() is None while it runs and 0 when it has counted all: both are falsy, only a failure starts
                # it again.
                if (census is None or census.poll()) and answers(address, POLL):
                    write_json(node.attempt.head_path, {"address": address})
                    census = _start_census(node, {**ray.environment(), "RAY_ADDRESS": address})
                missing = [name for name in node.names if name not in joined]
                if failed := node.attempt.failures():
                    return Outcome(AGAIN, failed)
                if requests:
                    return _stopped(node, requests, "while nodes were joining")
                if time.monotonic() - started > node.task.join_seconds:
                    return Outcome(
                        AGAIN, f"{len(missing)} of {len(node.names)} nodes did not join in time: {_few(missing)}"
                    )
                if time.monotonic() - said > SAY_EVERY:
                    said = time.monotonic()
                    node.say(f"{len(joined)} of {len(node.names)} nodes have joined; missing: {_few(missing)}")
            time.sleep(POLL)
    finally:
        if census:
            processes.kill(census)
    seconds = time.monotonic() - started
    node.say(f"all {len(joined)} nodes with {sum(joined.values())} GPUs have joined in {seconds:.1f} s")
    return address


def _few(names: list[str]) -> str:
    """Names, on a large cluster the first of them."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _start_census(node: Node, environment: dict[str, str]) -> "Popen[bytes]":
    """Starts the process that asks Ray who has joined; it fails while the head's own raylet is not up yet."""
    who = (str(node.attempt.joined_path), str(len(node.names)))
    command = processes.python_command("-m", "slurm.node.census", *who)
    return processes.start(command, log=node.attempt.log_path("census"), environment=environment)


def _run_alone(node: Node, ray: RayNode | None, environment: dict[str, str], requests: "deque[str]") -> Outcome:
    """Runs the command, again if it was refused because an earlier start of this job was still at work.

    SLURM starts a job elsewhere when it loses sight of a node, whose processes may live on until the node is back.
    """
    may_live = bool(node.folder.unended(node.restart))
    deadline = time.monotonic() + EARLIER
    is_sure = False
    while True:
        outcome = _run_command(node, ray, environment, requests)
        if outcome.code != BAD_INPUT or not may_live or is_sure:
            return outcome
        node.say(f"{outcome.reason}; once more after any earlier start of this job that is still at work")
        # One that has fallen silent meanwhile may have been the reason, once.
        is_sure = not _wait_for_silence(node, deadline, requests)
        if requests:
            return _stopped(node, requests, "while an earlier start of this job was at work")
        if time.monotonic() > deadline:
            return Outcome(AGAIN, f"an earlier start of this job is at work: {outcome.reason}", by_slurm=True)


def _wait_for_silence(node: Node, deadline: float, requests: "deque[str]") -> bool:
    """Waits until no attempt in the output has a heartbeat, or until the deadline; returns whether one had."""
    from deepscaler.runs.outputs import unfinished_attempts  # noqa: PLC0415  it imports the grader

    pulses: dict[Path, Pulse] = {}
    patience = Patience()
    while not requests and time.monotonic() < deadline:
        with patience.bear():
            found = unfinished_attempts(Path(node.task.output))
            silent = [pulses.setdefault(one.root, Pulse(one)).seconds_of_silence() > STALE for one in found]
            if all(silent):
                break
        time.sleep(POLL)
    return any(pulse.has_beaten for pulse in pulses.values())


def _run_command(node: Node, ray: RayNode | None, environment: dict[str, str], requests: "deque[str]") -> Outcome:
    """Runs the command to its end, to the death of Ray, or to the end of the allocation."""
    end = _end_of_allocation()
    command = node.resolved_command()
    if end < float("inf") and takes_deadline(command):
        command += ["--deadline", str(int(end - RESERVE))]
    log = node.attempt.log_path("driver")
    node.say(f"starting {' '.join(node.task.command[:3])} ...; its output goes to {log}")
    ignored = [signal.SIGUSR2]  # it gets SIGTERM
    # SLURM sends its warning, SIGUSR2, to every process of the step; the loop below passes the request on,
    # once.
    process = processes.start(command, log=log, environment=environment, ignored_signals=ignored)
    asked = False
    patience = Patience()
    try:
        while process.poll() is None:
            if requests and not asked:
                asked = True
                # Before SLURM is asked, which may take seconds: SLURM's own SIGTERM has reached the command, too, and
                # a later one would be a second request, which ends a training without another checkpoint.
                process.send_signal(signal.SIGTERM)
                if ended := _ended_by_slurm(node, requests):
                    processes.kill(process)
                    return ended
                node.say(f"{requests[0]}: the command is asked to stop")
            if ray and ray.ended() is not None:
                return Outcome(AGAIN, f"Ray ended with code {ray.ended()}; see {ray.log}")
            with patience.bear():
                if failed := node.attempt.failures():
                    return Outcome(AGAIN, failed)
            # Wall time, as SLURM gives it; a monotonic clock has another origin on every machine.
            if time.time() > end - RESERVE:
                return Outcome(AGAIN, "the time limit is reached")
            time.sleep(POLL)
    finally:
        # Without a request the command gets time to save; after one it had its time in the loop above.
        processes.end(process, 0.0 if asked else PATIENCE)
    code = exit_code(process.returncode)
    # Any other code after a request means that the command stopped because of it, or that Ray was killed under
    # it.
    if code in FINAL or not requests:
        return Outcome(code, f"the command ended with code {code}{_last_words(log) if code else ''}")
    return Outcome(AGAIN, f"the command stopped after {requests[0]}", by_slurm=_is_early(node))


def _last_words(log: Path) -> str:
    """Returns the last line that the kit's own command printed, which names bad input; other lines are for readers."""
    try:
        with log.open("rb") as file:
            # A long training's log is not read as a whole, and seek may land inside a character: hence
            # errors="replace".
            file.seek(max(0, log.stat().st_size - TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    last = next((line for line in reversed(lines) if line.strip()), "")
    return f": {last.removeprefix('deepscaler: ')}" if last.startswith("deepscaler: ") else ""


def _end_of_allocation() -> float:
    """Returns the end of the allocation in Unix seconds; infinite if the batch script could not know it."""
    try:
        end = float(os.environ.get("DEEPSCALER_JOB_END") or "inf")
    except ValueError:
        return float("inf")
    # A training that obeyed an end in the past would stop before its first step.
    return end if end > time.time() else float("inf")


def takes_deadline(command: list[str]) -> bool:
    """Returns whether a command is a training, which saves before its time is over."""
    return (
        "-m" in command
        # The words after -m are the package and its subcommand: python -P -m deepscaler train.
        and command[command.index("-m") + 2] in ("train", "chain", "run")
        and "--deadline" not in command
    )
