"""Allows one attempt at a time: two processes, on whatever machines, can never write the same run.

The number of an attempt is its fencing token. `mkdir attempts/0004` succeeds once, on any shared file system, and who
made it owns the run until someone makes 0005. An attempt lives as long as its heartbeat changes; clocks are not
compared.
"""

import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deepscaler.runs.folder import Attempt, RunFolder
from deepscaler.system.errors import UserError
from deepscaler.system.files import text_of, write_text
from deepscaler.system.processes import process_start
from deepscaler.system.repeat import repeating

BEAT = 2.0
"""Seconds between two heartbeats."""

STALE = 20.0
"""Seconds without a heartbeat after which an attempt is taken for dead: ten beats, room for a slow file system."""


class FencedError(RuntimeError):
    """A newer attempt owns the run: this one must not write any more."""


class Pulse:
    """Tells from this machine whether an attempt on another one lives: by whether its heartbeat changes."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._seen = self._read()
        self._changed = time.monotonic()
        self.has_beaten = False
        """Whether the heartbeat has changed since this was made."""

    def seconds_of_silence(self) -> float:
        """Looks again; returns how long the heartbeat has stood still, or how long it has been watched."""
        # A file that cannot be read for a moment proves nothing, and neither does the first text after that.
        if (beat := self._read()) and beat != self._seen:
            self.has_beaten = self.has_beaten or bool(self._seen)
            self._seen, self._changed = beat, time.monotonic()
        return time.monotonic() - self._changed

    def _read(self) -> str:
        return text_of(self._attempt.heartbeat_path)


def check_ownership(run: RunFolder, attempt: Attempt) -> None:
    """Raises FencedError if there is a newer attempt."""
    # A listing each time: the folder of the newer attempt is the only thing that both machines are sure to see.
    newest = max((other.number for other in run.attempts()), default=attempt.number)
    if newest > attempt.number:
        raise FencedError(f"attempt {newest} has taken over {run.root} from attempt {attempt.number}")


def idle_attempts(run: RunFolder, say: Callable[[str], None]) -> list[Attempt]:
    """Returns the attempts of a run, none of which is at work.

    Waits up to STALE seconds for the sign of life of one that has not ended. Raises UserError if it lives.
    """
    attempts = run.attempts()
    if attempts and "ended" not in attempts[-1].read_record():
        _wait_until_dead(attempts[-1], say)
    return attempts


def acquire(run: RunFolder, say: Callable[[str], None]) -> Attempt:
    """Makes this process the owner of a run. Raises UserError as `idle_attempts`, or if another takes over first."""
    attempts = idle_attempts(run, say)
    # The number follows what was looked at above: a second listing may hold an attempt that began in between and lives.
    attempt = run.attempt(attempts[-1].number + 1 if attempts else 1)
    try:
        attempt.root.parent.mkdir(parents=True, exist_ok=True)
        # mkdir(2) is atomic on local disks, NFS and Lustre; O_EXCL and locks depend on versions and mount options.
        attempt.root.mkdir()
        # At once: until it is known whose it is, only its heartbeat tells that it lives, and the first may be late.
        attempt.update_record(**identity())
    except FileExistsError:
        raise UserError(
            f"another process has just started attempt {attempt.number} of {run.root}; wait for it, or stop it"
        ) from None
    except OSError as error:
        raise UserError(f"cannot write to {run.root}: {error.strerror}; choose another --output-dir") from error
    return attempt


@contextmanager
def alive(attempt: Attempt) -> Iterator[None]:
    """Keeps the heartbeat changing, in a thread."""
    beats = itertools.count()
    _write_beat(attempt.heartbeat_path, next(beats))
    # longer than for a moment, what keeps beats from being written fences this attempt
    with repeating(lambda: _write_beat(attempt.heartbeat_path, next(beats)), BEAT, "heartbeat"):
        yield


def is_process_alive(record: dict[str, object]) -> bool | None:
    """Returns whether the process of an attempt's record lives; None if it is on another machine, so unknown."""
    if record.get("host") != socket.gethostname() or record.get("boot") != boot_id():
        return None
    pid = record.get("pid")
    # The start decides, because a pid is given again, in a container from 1 on.
    return isinstance(pid, int) and process_start(pid) == record.get("process_start")


def identity() -> dict[str, object]:
    """Returns the identity of this process for the record."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "boot": boot_id(), "pid": pid, "process_start": process_start(pid)}


def boot_id() -> str:
    """Returns an id of this machine and PID namespace: a container may have another's host name."""
    with suppress(OSError):
        # After a reboot pids and ticks begin again, and could by chance be those of the record.
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def _wait_until_dead(attempt: Attempt, say: Callable[[str], None]) -> None:
    record = attempt.read_record()
    who = f"attempt {attempt.number} (host {record.get('host', '?')}, pid {record.get('pid', '?')})"
    # An attempt is killed between its mkdir and its record, too: nothing is known of that one but its heartbeat.
    living = is_process_alive(record) if record else None
    pulse = Pulse(attempt)
    if living is None:
        say(f"{who} has not ended: waiting up to {STALE:.0f} s for its heartbeat.")
    while living is None and pulse.seconds_of_silence() < STALE:
        # Silence proves nothing before STALE is over; one beat proves that it lives.
        living = pulse.has_beaten or None
        # Several looks per beat, so that the first one after a change is seen at once.
        time.sleep(BEAT / 4)
    if living:
        raise UserError(
            f"{who} is at work in {attempt.root.parents[1]}; wait, or stop it (SIGTERM saves), or take another"
            " --output-dir"
        )
    say(f"{who} is dead: taking over.")


def _write_beat(path: Path, count: int) -> None:
    write_text(path, f"{count}\n")
