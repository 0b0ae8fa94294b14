"""`python -m slurm.node.begin FOLDER` is what srun starts on every node: submitit's own start, without numpy.

submitit imports numpy in case a pickled job needs it. Ours holds plain texts, and every node of a job would read numpy
from the shared file system before it could do anything. Signals are held back until the task hears them: one that comes
while modules are read would kill the task, and submitit's own handlers requeue or raise.
"""

import signal
import sys

HELD = (signal.SIGTERM, signal.SIGUSR2)
"""Signals by which SLURM says that a job will end."""


def main() -> None:
    """Runs this node's part of the job that a folder holds."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    # None in sys.modules makes `import numpy` raise ImportError, which submitit 1.5.4 catches
    # (core/submission.py).
    sys.modules["numpy"] = None  # type: ignore[assignment] # submitit goes without what is not installed
    from submitit.core.submission import submitit_main  # noqa: PLC0415

    # Before the task runs: what it imports may need numpy.
    del sys.modules["numpy"]
    submitit_main()


if __name__ == "__main__":
    main()
