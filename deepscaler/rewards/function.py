"""Calls a user's reward function in bounded worker processes.

UserFunction(Path("my_reward.py"), "score").judge({"response": "...", "golds": ["4"], ...})
-> Judgement(score=0.5, more={"brevity": 1.0}, failure="")

No code of the file runs in this process, and none can stop it: a call that hangs, dies, raises or returns anything but
numbers is undecided and scores 0. Once a function has only hung for a while, one call at a time tries it until it
answers. The other calls are undecided at once, so a batch of any size waits for a few time-outs, not one per response.
"""

import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepscaler.rewards.workers.pool import Failure, WorkerPool
from deepscaler.rewards.workers.template import StartError, Template
from deepscaler.system.errors import UserError
from deepscaler.system.processes import python_command

WORKER = "deepscaler.rewards.workers.function_worker"
CHECK = "deepscaler.rewards.workers.function_check"

CHECK_DEADLINE = 60.0
"""Seconds that reading a reward file may take; it takes a fraction of one."""

ATTEMPTS = 2
"""Workers that a call may kill; the first one may have been another call's victim."""

MOST_HANGING = 2
"""Time-outs in a row, per worker, after which a function counts as hanging; one slow spell of the machine does not."""

PAUSE = 60.0
"""Seconds without calls after no worker could start, because each try costs seconds."""

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Judgement:
    """Holds a reward function's verdict on one response."""

    score: float = 0.0
    more: dict[str, float] = field(default_factory=dict)
    """Numbers that the function returned beside the score."""
    failure: str = ""
    """Reason why the response is undecided; empty if it is decided."""


def split_function(given: str) -> tuple[Path, str]:
    """Returns the file and the name in `FILE.py:NAME`. Raises UserError for another form."""
    # From the right: a path may hold a colon, a function's name may not.
    file, _, name = given.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise UserError(
            f"invalid value {given!r} for reward.function: expected FILE.py:NAME, such as my_reward.py:score"
        )
    return Path(file), name


def check_file(file: Path, name: str) -> None:
    """Raises UserError with the line if a reward function cannot be called. A child parses it, but runs nothing."""
    command = python_command("-m", CHECK, str(file), name)
    try:
        done = subprocess.run(command, capture_output=True, timeout=CHECK_DEADLINE, check=True)
        error = str(json.loads(done.stdout)["error"])
    except (subprocess.SubprocessError, ValueError, KeyError):
        error = f"{file} cannot be read as Python: it crashes the parser"
    if error:
        raise UserError(f"reward.function: {error}")


class UserFunction:
    """Represents a function in a file, and the workers that call it."""

    def __init__(
        self,
        file: Path,
        name: str,
        *,
        timeout: float = 10.0,
        memory: float = 4.0,
        num_workers: int = 8,
        log: Path | None = None,
    ) -> None:
        """Sets `timeout` in seconds on the clock and `memory` in GiB per worker; the file's output goes to `log`."""
        arguments = ("-m", WORKER, str(file), name, str(int(memory * GIB)))
        self._pool = WorkerPool(num_workers, Template(arguments, log or Path(os.devnull)))
        self._timeout = timeout
        self._asleep_until = 0.0
        self._lock = threading.Lock()
        self._most_hanging = MOST_HANGING * num_workers
        self._num_hanging = 0
        self._is_tried = False

    def start(self) -> None:
        """Waits until the file is imported. Raises UserError if it cannot be."""
        try:
            self._pool.warm_up()
        except (StartError, TimeoutError) as error:
            self.close()
            why = str(error) if isinstance(error, StartError) else "its import does not end"
            raise UserError(f"reward.function: {why}") from error

    def judge(self, arguments: dict[str, Any]) -> Judgement:
        """Returns the function's verdict on a response; `arguments` are those of function_check.ARGUMENTS."""
        if time.monotonic() < self._asleep_until:
            return Judgement(failure="no worker can be started")
        with self._lock:
            only_hangs = self._num_hanging >= self._most_hanging
            if only_hangs and self._is_tried:
                told = f"{self._most_hanging} calls in a row gave no answer in {self._timeout:g} s"
                return Judgement(failure=f"not called while another call tries: {told}")
            # Under the lock, so that of all waiting threads exactly one tries the function.
            self._is_tried |= only_hangs
        reply: dict[str, Any] | Failure = "worker_died"
        try:
            reply = self._pool.ask(arguments, self._timeout, self._timeout, ATTEMPTS)
        except StartError as error:
            self._asleep_until = time.monotonic() + PAUSE
            return Judgement(failure=f"no worker can be started: {error}")
        finally:
            with self._lock:
                # Any other end of a call, even a dead worker, shows that the function does not only hang.
                self._num_hanging = self._num_hanging + 1 if reply == "timeout" else 0
                if only_hangs:
                    self._is_tried = False
        if reply == "timeout":
            return Judgement(failure=f"no answer in {self._timeout:g} s")
        if isinstance(reply, str):
            return Judgement(failure="its process ended")
        try:
            # Checked here again, because a function can write to its worker's socket itself.
            return Judgement(float(reply["score"]), dict(reply["more"]))
        except (KeyError, TypeError, ValueError):
            return Judgement(failure=str(reply.get("failure", "its process wrote no reply")))

    def pids(self) -> list[int]:
        """Returns the pids of the living worker processes."""
        return self._pool.pids()

    def close(self) -> None:
        """Ends all workers and any processes they left behind."""
        self._pool.close()
