"""Follows the log of a run's command from head to head until its jobs have ended, whatever the network does.

kubectl logs POD --follow --timestamps    ended through its process id; if it ends by itself it is restarted, and time
                                          stamps filter out the lines that it repeats
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from queue import Empty, SimpleQueue
from tempfile import TemporaryFile
from threading import Thread
from typing import IO

from deepscaler.kubernetes.cluster.kubectl import Kubectl
from deepscaler.kubernetes.cluster.look import Object, Seen, look, name_of
from deepscaler.kubernetes.cluster.record import Submitted
from deepscaler.kubernetes.cluster.refusals import UnreachableError, explain
from deepscaler.kubernetes.cluster.speaking import (
    chosen,
    command_container,
    has_begun,
    print_heading,
    print_lines,
    speaker,
    why_no_log,
)
from deepscaler.kubernetes.cluster.states import LOG_SECONDS
from deepscaler.output.terminal import printable
from deepscaler.system import processes

ASK_EVERY = 10.0
"""Seconds between two looks at the jobs while a log flows."""

SAY_EVERY = 30.0
"""Seconds between two lines about the reason for waiting."""

POLL = 3.0
"""Seconds between two looks while there is no log yet, and before a kubectl that has ended is restarted."""

REST = 2.0
"""Seconds without a line after which the log of an ended job is complete."""

PATIENCE = 5.0
"""Seconds that a kubectl has to end after it is asked to."""

Lines = SimpleQueue[str | None]


class Following:
    """Follows the log of one job of a run, or of whichever is running, through all its pods."""

    def __init__(self, cluster: Kubectl, jobs: Sequence[Submitted], wanted: str | None, num_lines: int) -> None:
        self._cluster = cluster
        self._jobs = jobs
        self._wanted = wanted
        self._num_lines = num_lines
        self._said = ("", 0.0)
        self._stamps: dict[str, str] = {}
        """Time stamp of the last line that was printed, by pod."""

    def run(self) -> int:
        """Prints until every requested job has ended. Returns 0 even if one has failed, because its log says so."""
        told = ""
        while True:
            seen = self._look()
            one = chosen(seen, self._wanted) if seen else None
            head = one.head if one else None
            if one and head and has_begun(head):
                if name_of(head) != told:
                    told = name_of(head)
                    print_heading(one, head)
                if self._stream(head):
                    print(f"== job {one.submitted.name} has ended", flush=True)
                    return 0
            elif one and self._is_over(seen):
                print(f"== {why_no_log(one)}", flush=True)
                return 0
            elif one:
                self._say(why_no_log(one))
            time.sleep(POLL)

    def _stream(self, head: Object) -> bool:
        """Prints a pod's log until kubectl ends or a newer head speaks; returns whether all jobs have ended."""
        name, looked = name_of(head), time.monotonic()
        is_over, is_new = False, _newer_than(self._stamps.get(name))
        # Not a pipe: nobody would read it while lines come, and a full one would stop kubectl.
        with TemporaryFile() as errors:
            with lines_of(self._cluster.command(*self._words(head), "--follow"), errors) as lines:
                while True:
                    try:
                        if (line := lines.get(timeout=REST)) is None:
                            break
                        self._print_new(head, line, is_new)
                    except Empty:
                        if is_over:
                            return True
                    if not is_over and time.monotonic() - looked > ASK_EVERY:
                        seen, looked = self._look(), time.monotonic()
                        is_over = self._is_over(seen)
                        newest = chosen(seen, self._wanted).head if seen else None
                        if newest and name_of(newest) != name and has_begun(newest):
                            return False
            errors.seek(0)
            said = errors.read().decode(errors="replace")
        if self._is_over(self._look()):
            self._print_rest(head)
            return True
        self._complain(said)
        return False

    def _words(self, head: Object) -> tuple[str, ...]:
        """Returns the arguments that request the last lines of a pod, or the lines since the last printed one."""
        stamp = self._stamps.get(name_of(head))
        num_lines = -1 if self._stamps else self._num_lines  # of a head that came later, everything
        # the API accepts whole seconds, so the lines of the last second come again
        first = f"--since-time={_in_seconds(stamp)}" if stamp else f"--tail={num_lines}"
        return ("logs", name_of(head), "-c", command_container(head), "--timestamps", first)

    def _print_rest(self, head: Object) -> None:
        """Prints the lines between the end of a kubectl and the end of the job."""
        is_new = _newer_than(self._stamps.get(name_of(head)))
        done = self._cluster.run(*self._words(head), seconds=LOG_SECONDS)
        for line in done.stdout.splitlines() if not done.returncode else ():
            self._print_new(head, line, is_new)

    def _print_new(self, head: Object, line: str, is_new: Callable[[str], bool]) -> None:
        stamp, _, text = line.partition(" ")
        if is_new(stamp):
            self._stamps[name_of(head)] = stamp
            print_lines(speaker(head), text)

    def _complain(self, said: str) -> None:
        """Prints why a kubectl ended. Raises ClusterError if a retry would not help."""
        if said.strip():
            error = explain(said, self._cluster.context, self._cluster.namespace)
            if "(Forbidden)" in said:
                raise error
            self._say(str(error))

    def _look(self) -> list[Seen]:
        """Returns the jobs; empty if the cluster did not answer, which is printed and retried."""
        try:
            return look(self._jobs)
        except UnreachableError as error:
            self._say(str(error))
            return []

    def _is_over(self, seen: Sequence[Seen]) -> bool:
        """Returns whether no more lines will come; while a chain's conductor runs, another job may start."""
        watched = [one for one in seen if self._wanted in (None, one.submitted.name)]
        makers = [one for one in watched if one.submitted.kind == "job" and one.job is not None]
        # The pods of a job that was cancelled are still there while its training saves.
        return bool(watched) and all(not one.pods if one.job is None else one.is_ended for one in (makers or watched))

    def _say(self, text: str) -> None:
        """Prints the reason for waiting when it changes, and twice a minute."""
        said, moment = self._said
        if text != said or time.monotonic() - moment > SAY_EVERY:
            print(f"waiting: {printable(text)}", file=sys.stderr, flush=True)
            self._said = (text, time.monotonic())


@contextmanager
def lines_of(command: Sequence[str], errors: IO[bytes] | int = subprocess.DEVNULL) -> Iterator[Lines]:
    """Starts a command and yields its lines as they come, None at its end; the command ends with the block."""
    lines: Lines = SimpleQueue()
    # Ctrl-C may come while Popen starts the command, before there is a child to be ended here.
    die = partial(processes.die_with, os.getpid(), signal.SIGTERM)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        preexec_fn=die,  # noqa: PLW1509  no other thread runs here
    )
    assert child.stdout is not None
    output = child.stdout

    def read() -> None:
        for line in output:
            lines.put(line.decode("utf-8", errors="replace").rstrip("\r\n"))
        lines.put(None)

    # A thread, because a pipe cannot be read with a deadline.
    reader = Thread(target=read, daemon=True)
    reader.start()
    try:
        yield lines
    finally:
        processes.end(child, PATIENCE)
        reader.join(PATIENCE)
        output.close()


def _newer_than(last: str | None) -> Callable[[str], bool]:
    """Returns a function that tells new lines, whose time stamps are after the last printed one, from repeated ones."""
    # Fixed when a kubectl starts: several lines may have one time stamp, and only repeated ones are to be left
    # out.
    bound = _key(last) if last else ""
    return lambda stamp: _key(stamp) > bound


def _key(stamp: str) -> str:
    """Returns a time stamp that sorts as text; some runtimes omit zeros at the end of the nanoseconds."""
    whole, fraction = stamp[:19], stamp[19:].lstrip(".").rstrip("Z").partition("+")[0]
    return f"{whole}.{fraction:0<9}"


def _in_seconds(stamp: str) -> str:
    """Returns a time stamp in the form that the API accepts."""
    return datetime.fromisoformat(stamp).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
