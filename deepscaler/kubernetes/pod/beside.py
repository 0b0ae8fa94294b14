"""Waits for the previous attempt while a command runs, in one container because init containers run in sequence."""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from deepscaler.kubernetes.pod.lifecycle import POLL, wait_for_others
from deepscaler.system import processes
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import DONE, KILLED, STOPPED
from deepscaler.system.signals import stop_signals

PATIENCE = 10.0
"""Seconds that the command has to end after it is asked to."""


class _OverError(Exception):
    """Signals why everything ends early; its second argument is the exit code."""


def wait_beside(root: Path, command: Sequence[str], say: Callable[[str], None]) -> int:
    """Waits until no other attempt uses a run's folder and the command, if any, has ended.

    Returns 0 if both ended well. A failure of either, or a signal, is reported and ends the other; the code is then the
    command's, or 143. Raises UserError for a command that does not exist.
    """
    told = f"`{shlex.join(command)}`"
    if command and shutil.which(command[0]) is None:
        raise UserError(f"there is no command {command[0]!r} to run beside: give one of this machine after `--`")
    with stop_signals() as signals:
        process = processes.start(command, log=None, environment=dict(os.environ)) if command else None

        def check() -> None:
            if signals:
                raise _OverError(f"{signals[0]} came", STOPPED)
            # set by the poll() or wait() before; None as long as the command runs, and 0 once it has ended well
            if process and process.returncode:
                how = "was killed, often for lack of memory" if process.returncode == KILLED else "failed"
                raise _OverError(f"{told} {how} (exit code {process.returncode})", process.returncode)

        def pause() -> None:
            if process is None or process.poll() is not None:
                time.sleep(POLL)
            else:
                # A pause that ends with the command: a failure is seen at once.
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL)
            check()

        try:
            wait_for_others(root, say, pause)
            while process and process.poll() is None:
                pause()
            check()
        except _OverError as over:
            why, code = over.args
            say(f"{why}: nothing is waited for any more.")
            return int(code)
        finally:
            if process and process.poll() is None:
                say(f"{told} is ended, too.")
                processes.end(process, PATIENCE)
    return DONE
