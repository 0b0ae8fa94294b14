"""Runs the checks: one after the other for people to read, or the fast ones at once, within seconds."""

import threading
import time
from collections.abc import Iterator, Sequence

from deepscaler.doctor.checks import CHECKS, Check
from deepscaler.doctor.finding import Finding, Status
from deepscaler.doctor.subject import Subject
from deepscaler.system.errors import UserError

SECONDS = 9.0
"""Seconds for all fast checks together; a check that hangs is a finding itself."""


def examine(subject: Subject, *, image_only: bool = False) -> Iterator[Finding]:
    """Yields the findings one by one, as they are made; some take seconds. `image_only` leaves the machine out."""
    for check in CHECKS:
        if check.image or not image_only:
            yield from _run(check, subject)


def examine_fast(subject: Subject, seconds: float = SECONDS) -> list[Finding]:
    """Returns the findings of the fast checks, in their order, within some seconds."""
    fast = [check for check in CHECKS if check.fast]
    found: dict[str, list[Finding]] = {}

    def run(check: Check) -> None:
        found[check.name] = _run(check, subject)

    # One for each check: a file system that hangs or a server that does not answer holds up no other, and is named
    # instead of waited for. Daemons, because a thread in a system call on a dead file server never ends, and would
    # keep the process.
    threads = [threading.Thread(target=run, args=(check,), daemon=True) for check in fast]
    for thread in threads:
        thread.start()
    _join(threads, time.monotonic() + seconds)
    return [finding for check in fast for finding in found.get(check.name) or [_hung(check, seconds)]]


def _join(threads: Sequence[threading.Thread], deadline: float) -> None:
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _hung(check: Check, seconds: float) -> Finding:
    """Returns what a check that does not end tells: storage that hangs would hang the training, too."""
    status: Status = "fail" if check.group == "storage" else "warn"
    return Finding(check.name, status, f"no answer within {seconds:g} s", "see why it hangs: a file server, a driver?")


def _run(check: Check, subject: Subject) -> list[Finding]:
    """Returns what a check finds; an error of its own is a warning, for no check may end what it examines."""
    try:
        return check.findings(subject)
    except UserError:
        raise
    except Exception as error:  # whatever /proc, /sys or a tool says that nobody expected
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        return [
            Finding(check.name, "warn", f"the check itself failed: {what}", "report it; the others are not affected")
        ]
