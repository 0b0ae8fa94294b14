"""Kills what a killed evaluation leaves: `python -m deepscaler.system.orphans PID`, a child of the watched process.

vLLM's engine process does not notice that its parent is gone: it would go on, with the GPU's memory.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from deepscaler.system.processes import descendants, process_start

SECONDS = 1.0
"""Between two looks at what the process has started."""


def watch() -> None:
    """From now on nothing that this process starts outlives it for long, however it ends."""
    subprocess.Popen(
        [sys.executable, "-m", "deepscaler.system.orphans", str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def main() -> None:
    """Look until the process is gone, then kill what was seen last and is still the same process."""
    parent = int(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # SLURM sends them to every process of a job
    seen: dict[int, str | None] = {}
    while os.getppid() == parent:
        seen = {pid: process_start(pid) for pid in descendants(parent) if pid != os.getpid()}
        time.sleep(SECONDS)
    for pid, when in seen.items():
        with suppress(ProcessLookupError):
            if when and process_start(pid) == when:
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
